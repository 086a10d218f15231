//! What a request is on its way to the server, and that what the answer says of the server's address leads back through the gateway.

use gateway_tests::http::{Message, answer, call, result};
use serde_json::json;

use crate::{Result, Scene};

/// An answer without a body, with these fields.
fn empty(status: &str, fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{fields}Content-Length: 0\r\n\r\n").into_bytes()
}

/// The host that the server is asked for.
fn host(request: &Message) -> String {
    request.field("host").unwrap_or_default().to_owned()
}

#[test]
fn the_server_sees_its_own_host_and_nothing_that_callers_say_of_hops_before() -> Result {
    let scene = Scene::new("", |_| answer(&result(&json!(1))))?;
    let said = "Forwarded: for=192.0.2.1\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Host: other\r\nX-Real-IP: 192.0.2.1\r\nX-Original-URL: /x\r\n\
                X-Trace: kept\r\n";
    scene.post("/vault/mcp?x=1", said, &call(1))?;
    let seen = &scene.server.seen()[0];
    assert_eq!(seen.start.trim(), "POST /mcp?x=1 HTTP/1.1");
    assert_eq!(host(seen), scene.address.to_string());
    assert_eq!(seen.fields.iter().filter(|(name, _)| name == "host").count(), 1);
    for name in ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "x-original-url"] {
        assert_eq!(seen.field(name), None, "{name}");
    }
    assert_eq!(seen.field("x-trace"), Some("kept"));
    // What it said is on record, as what it said.
    let record = scene.gateway.record("the request", |record| record.kind() == "request")?;
    let headers = record.body()["http"]["headers"].to_string();
    assert!(headers.contains("X-Forwarded-For") && headers.contains(&scene.endpoint.to_string()), "{headers}");
    Ok(())
}

#[test]
fn redirects_within_the_server_lead_through_the_gateway() -> Result {
    let scene = Scene::new("", |request| {
        let to = match request.start.split(' ').nth(1) {
            Some("/mcp") => "/mcp/".to_owned(),
            Some("/mcp/") => format!("http://{}/moved?x=1", host(request)),
            Some("/moved?x=1") => "https://login.example/".to_owned(),
            _ => "nowhere".to_owned(),
        };
        empty("307 Temporary Redirect", &format!("Location: {to}\r\nStrict-Transport-Security: max-age=1\r\nAlt-Svc: h3=\":443\"\r\n"))
    })?;
    for (target, location) in [
        ("/vault", "/vault/mcp/"),
        ("/vault/mcp/", "/vault/moved?x=1"),
        ("/vault/moved?x=1", "https://login.example/"),
        ("/vault/a/b", "/vault/a/nowhere"),
    ] {
        let answer = scene.post(target, "", &call(1))?;
        assert_eq!((answer.status(), answer.field("location")), (307, Some(location)), "{target}");
        // They would be about the gateway's host.
        assert_eq!((answer.field("strict-transport-security"), answer.field("alt-svc")), (None, None));
    }
    Ok(())
}

#[test]
fn the_metadata_of_a_protected_server_leads_through_the_gateway() -> Result {
    let scene = Scene::new("", |request| {
        let own = format!("http://{}", host(request));
        if request.start.starts_with("GET /.well-known/oauth-protected-resource/mcp ") {
            return answer(&json!({ "resource": format!("{own}/mcp"), "authorization_servers": ["https://login.example"] }));
        }
        let challenge = format!("Bearer resource_metadata=\"{own}/.well-known/oauth-protected-resource/mcp\", scope=\"a\"");
        empty("401 Unauthorized", &format!("WWW-Authenticate: {challenge}\r\n"))
    })?;
    let base = format!("http://{}", scene.endpoint);
    for target in ["/vault/mcp", "/vault"] {
        let challenged = scene.post(target, "", &call(1))?;
        let challenge = challenged.field("www-authenticate").unwrap_or_default().to_owned();
        let metadata = challenge.split('"').nth(1).unwrap_or_default().to_owned();
        assert_eq!(challenge, format!("Bearer resource_metadata=\"{metadata}\", scope=\"a\""));
        // A client goes where it is told, and compares the resource to the URL that it uses.
        let path = metadata.strip_prefix(&base).unwrap_or_default().to_owned();
        let told = scene.ask("GET", &path, "", b"")?;
        assert_eq!(told.status(), 200, "{metadata}");
        assert_eq!(told.json()?, json!({ "resource": format!("{base}{target}"), "authorization_servers": ["https://login.example"] }));
        // One that is told nothing puts the well-known part before the path (RFC 9728 section 3.1).
        let told = scene.ask("GET", &format!("/.well-known/oauth-protected-resource{target}"), "", b"")?;
        assert_eq!(told.json()?["resource"], format!("{base}{target}"));
    }
    // The record has it as the server said it.
    let record =
        scene.gateway.record("the metadata", |record| record.kind() == "answer" && record.line.contains("authorization_servers"))?;
    assert_eq!(record.body()["payload"]["json"]["resource"], format!("http://{}/mcp", scene.address));
    Ok(())
}

#[test]
fn behind_something_that_speaks_tls_urls_are_https() -> Result {
    let challenge = |request: &Message| {
        empty("401 Unauthorized", &format!("WWW-Authenticate: Bearer resource_metadata=\"http://{}/.well-known/x\"\r\n", host(request)))
    };
    for (settings, scheme) in [("", "http"), ("plain = true", "https")] {
        let scene = Scene::new(settings, challenge)?;
        let answer = scene.post("/vault", "X-Forwarded-Proto: https\r\n", &call(1))?;
        let expected = format!("Bearer resource_metadata=\"{scheme}://{}/vault/.well-known/x\"", scene.endpoint);
        assert_eq!(answer.field("www-authenticate"), Some(expected.as_str()));
    }
    Ok(())
}

#[test]
fn cookies_stay_with_the_server_that_set_them() -> Result {
    let scene = Scene::new("", |_| empty("202 Accepted", "Set-Cookie: a=1; Path=/; Domain=127.0.0.1; HttpOnly\r\nSet-Cookie: b=2\r\n"))?;
    let answer = scene.post("/vault", "", &json!({ "jsonrpc": "2.0", "method": "notifications/x" }))?;
    let cookies: Vec<_> = answer.fields.iter().filter(|(name, _)| name == "set-cookie").map(|(_, value)| value.as_str()).collect();
    assert_eq!(cookies, ["a=1; HttpOnly; Path=/vault", "b=2; Path=/vault"]);
    Ok(())
}

#[test]
fn the_endpoint_event_of_the_older_transport_leads_through_the_gateway() -> Result {
    for named in ["/messages?sessionId=7", "messages?sessionId=7", "http://HOST/messages?sessionId=7"] {
        let scene = Scene::new("", move |request| {
            if request.start.starts_with("POST") {
                return empty("202 Accepted", "");
            }
            let event = format!("event: endpoint\r\ndata: {}\r\n\r\n", named.replace("HOST", &host(request)));
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n{event}", event.len()).into_bytes()
        })?;
        let stream = scene.ask("GET", "/vault/sse", "Accept: text/event-stream\r\n", b"")?;
        assert_eq!(String::from_utf8_lossy(&stream.body), "event: endpoint\ndata: /vault/messages?sessionId=7\n\n", "{named}");
        let posted = scene.post("/vault/messages?sessionId=7", "", &call(1))?;
        assert_eq!(posted.status(), 202);
        assert_eq!(scene.server.seen()[1].start.trim(), "POST /messages?sessionId=7 HTTP/1.1");
        let sessions: Vec<_> =
            scene.gateway.records()?.iter().filter(|r| r.kind() == "request").map(|r| r.body()["session"].clone()).collect();
        assert_eq!(sessions[1], "vault:/messages?sessionId=7", "the path that the server named is the session");
    }
    Ok(())
}
