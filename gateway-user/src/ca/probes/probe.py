import socket, ssl, sys

host, port = sys.argv[1], int(sys.argv[2])


def report(name, act):
    try:
        act()
        print(name, "ok", sep="\t")
    except Exception as error:
        print(name, " ".join(str(error).split()) or repr(error), sep="\t")


def plain():
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        ssl.create_default_context().wrap_socket(connection, server_hostname=host).close()


report("ssl", plain)
# From here on the host is at our port, whatever it resolves to.
socket.getaddrinfo = lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
url = f"https://[{host}]:{port}/" if ":" in host else f"https://{host}:{port}/"
for name in ("requests", "httpx"):
    try:
        module = __import__(name)
    except ImportError:
        continue
    report(name, lambda: module.get(url, timeout=10))
