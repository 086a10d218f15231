"""An MCP server that takes only requests signed as AWS has it, checked with botocore: `sigv4_server.py --help`.

It prints `ready PORT` when it listens, and on standard error a line for each request that it refuses. Its tools: `echo` answers with what it
was given, who signed, and how many calls it has done by then; `reveal` with the header that it got.
"""

import argparse
import datetime
import itertools
import json
import sys
import threading
import urllib.request
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("--host", default="127.0.0.1")
options.add_argument("--port", type=int, default=0)
options.add_argument("--service", required=True)
options.add_argument("--region", required=True)
options.add_argument("--key", action="append", default=[], metavar="ID=SECRET[=TOKEN]", help="a key that is taken")
options.add_argument("--moto", metavar="URL", help="the sessions that this moto's STS gave are taken too")
options.add_argument("--ahead", type=float, default=0, metavar="SECONDS", help="this clock is ahead")
options.add_argument("--window", type=float, default=300, metavar="SECONDS", help="how far a signature's date may be off")
options.add_argument("--refusal", type=int, default=403, metavar="STATUS", help="what a wrong signature is answered with")
options = options.parse_args()

keys = {}
calls = itertools.count(1)
for key in options.key:
    key, secret, *token = key.split("=", 2)
    keys[key] = (secret, token[0] if token else None)


class Refused(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def now():
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=options.ahead)


def known(key):
    if key not in keys and options.moto:
        with urllib.request.urlopen(f"{options.moto}/moto-api/data.json") as answer:
            for role in json.load(answer).get("sts", {}).get("AssumedRole", []):
                keys[role["access_key_id"]] = (role["secret_access_key"], role["session_token"])
    if key not in keys:
        raise Refused("UnrecognizedClientException", "The security token included in the request is invalid.")
    return keys[key]


class Auth(S3SigV4Auth if options.service == "s3" else SigV4Auth):
    """Signs those fields that the request says are signed, and no others."""

    signed = frozenset()

    def headers_to_sign(self, request):
        for name in self.signed:
            if name not in request.headers:
                raise Refused("SignatureDoesNotMatch", f"the signed field {name} is missing")
        fields = super().headers_to_sign(request)
        for name in set(fields.keys()) - self.signed:
            del fields[name]
        # botocore leaves out some that a caller may sign all the same.
        for name in self.signed - {name.lower() for name in fields.keys()}:
            for value in request.headers.get_all(name):
                fields[name] = value
        return fields


def verify(method, path, headers, body):
    """Who signed; raises if nobody did as AWS has it."""
    scheme, _, rest = (headers.get("Authorization") or "").partition(" ")
    if scheme != "AWS4-HMAC-SHA256":
        raise Refused("MissingAuthenticationTokenException", "Missing Authentication Token")
    said = dict(part.strip().split("=", 1) for part in rest.split(","))
    key, date, region, service, end = said["Credential"].split("/")
    if (region, service, end) != (options.region, options.service, "aws4_request"):
        raise Refused("InvalidSignatureException", f"Credential should be scoped to {options.region}/{options.service}")
    secret, token = known(key)
    if token is not None and headers.get("X-Amz-Security-Token") != token:
        raise Refused("UnrecognizedClientException", "The security token included in the request is invalid.")
    stamp = headers.get("X-Amz-Date") or ""
    dated = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    apart = (now() - dated).total_seconds()
    if apart > options.window:
        raise Refused("InvalidSignatureException", f"Signature expired: {stamp} is now earlier than {now():%Y%m%dT%H%M%SZ}")
    if apart < -options.window:
        raise Refused("InvalidSignatureException", f"Signature not yet current: {stamp} is still later than {now():%Y%m%dT%H%M%SZ}")
    request = AWSRequest(method, f"http://{headers['Host']}{path}", data=body)
    for name, value in headers.items():
        # http.server reads fields as ISO 8859-1, and what is signed are bytes.
        request.headers[name] = value.encode("latin-1").decode("utf-8", "surrogateescape")
    request.context["timestamp"] = stamp
    auth = Auth(Credentials(key, secret, token), service, region)
    auth.signed = frozenset(said["SignedHeaders"].split(";"))
    must = {"host", "x-amz-date"} | {name.lower() for name in headers.keys() if name.lower().startswith("x-amz-")}
    if not must <= auth.signed:
        raise Refused("InvalidSignatureException", f"not signed, and must be: {', '.join(sorted(must - auth.signed))}")
    canonical = auth.canonical_request(request)
    if stamp[:8] != date or auth.signature(auth.string_to_sign(request, canonical), request) != said["Signature"]:
        raise Refused("InvalidSignatureException", f"The request signature we calculated does not match. Canonical: {canonical}")
    if headers.get("X-Amz-Content-SHA256", auth.payload(request)) != auth.payload(request):
        raise Refused("InvalidSignatureException", "x-amz-content-sha256 is not the body's")
    return key


def answer(call, signer, headers):
    method, params = call.get("method"), call.get("params") or {}
    if method == "initialize":
        about = {"name": "sigv4", "version": "1"}
        return {"protocolVersion": params.get("protocolVersion", "2025-06-18"), "capabilities": {"tools": {}}, "serverInfo": about}
    if method == "tools/list":
        return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in ("echo", "reveal")]}
    if method == "tools/call":
        told = {"signed_by": signer, "calls": next(calls)}
        if params.get("name") == "reveal":
            told["header"] = dict(headers.items())
        else:
            told["arguments"] = params.get("arguments")
        return {"content": [{"type": "text", "text": json.dumps(told)}], "isError": False}
    return {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def date_time_string(self, timestamp=None):
        return format_datetime(now(), usegmt=True)

    def body(self):
        if "chunked" not in (self.headers.get("Transfer-Encoding") or "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def say(self, status, body=None, **fields):
        body = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_one(self):
        body = self.body()
        try:
            signer = verify(self.command, self.path, self.headers, body)
        except (Refused, KeyError, ValueError) as refused:
            code = getattr(refused, "code", "IncompleteSignatureException")
            print(f"{code}: {refused}", file=sys.stderr, flush=True)
            return self.say(options.refusal, {"message": str(refused)}, Content_Type="application/json", x_amzn_ErrorType=code)
        if self.command != "POST":
            return self.say(405, {"message": "POST only"}, Allow="POST")
        call = json.loads(body)
        if "id" not in call:
            return self.say(202)
        result = {"jsonrpc": "2.0", "id": call["id"], "result": answer(call, signer, self.headers)}
        return self.say(200, result, Content_Type="application/json")

    do_GET = do_POST = do_DELETE = handle_one

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024


server = Server((options.host, options.port), Handler)
print(f"ready {server.server_port}", flush=True)
threading.Thread(target=server.serve_forever).start()
