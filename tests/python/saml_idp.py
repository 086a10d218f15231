"""A SAML identity provider on pysaml2: `saml_idp.py HOST PORT HOME`.

HOME has idp.key, idp.pem, manner.json (what is signed and encrypted) and sp-*.xml (whom it serves). All are read anew for each
request, so that a test can change them.
"""

import html
import json
import sys
import traceback
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs
from wsgiref.simple_server import make_server

import saml2.entity
from saml2 import BINDING_HTTP_POST, BINDING_HTTP_REDIRECT
from saml2.authn_context import PASSWORDPROTECTEDTRANSPORT
from saml2.config import IdPConfig
from saml2.metadata import entity_descriptor
from saml2.saml import NAME_FORMAT_URI, NAMEID_FORMAT_EMAILADDRESS, NAMEID_FORMAT_PERSISTENT, NameID
from saml2.server import Server
from saml2.sigver import pre_encryption_part
from saml2.xmldsig import DIGEST_SHA1, DIGEST_SHA256, SIG_RSA_SHA1, SIG_RSA_SHA256

host, port, home = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
base = f"http://{host}:{port}"
entity_id = f"{base}/metadata"

PEOPLE = {
    "ada": {"uid": "ada", "mail": "ada@example.test", "displayName": "Ada Okafor", "groups": ["dba", "staff"]},
    "bob": {"uid": "bob", "mail": "bob@example.test", "displayName": "Bob Lindqvist", "groups": ["staff"]},
}


def config(weak=False):
    return IdPConfig().load(
        {
            "entityid": entity_id,
            "key_file": str(home / "idp.key"),
            "cert_file": str(home / "idp.pem"),
            "metadata": {"local": sorted(map(str, home.glob("sp-*.xml")))},
            "service": {
                "idp": {
                    # pysaml2's own choice is SHA-1, and what is set outside of this section counts for nothing.
                    "signing_algorithm": SIG_RSA_SHA1 if weak else SIG_RSA_SHA256,
                    "digest_algorithm": DIGEST_SHA1 if weak else DIGEST_SHA256,
                    "endpoints": {
                        "single_sign_on_service": [
                            (f"{base}/sso", BINDING_HTTP_REDIRECT),
                            (f"{base}/sso", BINDING_HTTP_POST),
                        ]
                    },
                    "name_id_format": [NAMEID_FORMAT_PERSISTENT, NAMEID_FORMAT_EMAILADDRESS],
                    "policy": {"default": {"lifetime": {"minutes": 5}, "name_form": NAME_FORMAT_URI}},
                }
            },
        }
    )


def login_page(fields, wrong=""):
    hidden = "".join(
        f'<input type="hidden" name="{name}" value="{html.escape(value)}">'
        for name, value in fields.items()
        if name not in ("username", "password")
    )
    return f"""<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Sign in</title></head><body><h1>Sign in</h1>
<form method="post" action="/login"><p>{html.escape(wrong)}</p>{hidden}
<label>User name <input type="text" name="username"></label> <label>Password <input type="password" name="password"></label>
<button type="submit">Sign in</button></form></body></html>"""


def server_of(weak):
    server = Server(config=config(weak))
    # pysaml2 knows no setting for it: its own choice, triple DES, is refused by who keeps to what is safe.
    cipher = ("tripledes-cbc", "des-192") if weak else ("aes256-cbc", "aes-256")
    saml2.entity.pre_encryption_part = partial(pre_encryption_part, msg_enc=f"http://www.w3.org/2001/04/xmlenc#{cipher[0]}")
    server.sec.encrypt_assertion = partial(server.sec.encrypt_assertion, key_type=cipher[1])
    return server


def answer(fields):
    """The page that posts a response to the service provider."""
    manner = json.loads((home / "manner.json").read_text())
    server = server_of(manner.pop("weak"))
    if "SAMLRequest" in fields:
        signed = {"relay_state": fields.get("RelayState"), "sigalg": fields.get("SigAlg"), "signature": fields.get("Signature")}
        request = server.parse_authn_request(fields["SAMLRequest"], fields["binding"], **signed).message
        to = server.response_args(request, [BINDING_HTTP_POST])
        policy = to["name_id_policy"]
    else:
        _, destination = server.pick_binding("assertion_consumer_service", [BINDING_HTTP_POST], "spsso", entity_id=fields["spentityid"])
        to, policy = {"in_response_to": "", "sp_entity_id": fields["spentityid"], "destination": destination}, None

    person = PEOPLE[fields["username"]]
    by_mail = policy is not None and policy.format == NAMEID_FORMAT_EMAILADDRESS
    response = server.create_authn_response(
        person,
        in_response_to=to["in_response_to"],
        destination=to["destination"],
        sp_entity_id=to["sp_entity_id"],
        name_id=NameID(
            format=NAMEID_FORMAT_EMAILADDRESS if by_mail else NAMEID_FORMAT_PERSISTENT,
            name_qualifier=entity_id,
            sp_name_qualifier=to["sp_entity_id"],
            text=person["mail" if by_mail else "uid"],
        ),
        authn={"class_ref": PASSWORDPROTECTEDTRANSPORT, "authn_auth": entity_id},
        **manner,
    )
    return server.apply_binding(BINDING_HTTP_POST, str(response), to["destination"], fields.get("RelayState", ""), response=True)["data"]


def page(environ):
    posted = environ["REQUEST_METHOD"] == "POST"
    raw = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode() if posted else environ.get("QUERY_STRING", "")
    fields = {name: values[0] for name, values in parse_qs(raw).items()}
    match environ["PATH_INFO"]:
        case "/metadata":
            return "200 OK", "application/samlmetadata+xml", str(entity_descriptor(config()))
        case "/sso":
            fields["binding"] = BINDING_HTTP_POST if posted else BINDING_HTTP_REDIRECT
            return "200 OK", "text/html", login_page(fields)
        case "/login" if fields.get("username") in PEOPLE and fields.get("password") == fields["username"]:
            return "200 OK", "text/html", answer(fields)
        case "/login":
            return "200 OK", "text/html", login_page(fields, "That is not right.")
    return "404 Not Found", "text/plain", "there is nothing here"


def serve(environ, start):
    try:
        status, kind, body = page(environ)
    except Exception as error:
        traceback.print_exc()
        status, kind, body = "400 Bad Request", "text/plain", f"{type(error).__name__}: {error}"
    start(status, [("Content-Type", f"{kind}; charset=utf-8")])
    return [body.encode()]


make_server(host, port, serve).serve_forever()
