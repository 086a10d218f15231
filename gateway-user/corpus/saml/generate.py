#!/usr/bin/env python3
"""Writes the responses of this corpus: valid ones, and everything that an attacker makes of them.

    python3 -m venv /tmp/v && /tmp/v/bin/pip install lxml cryptography && /tmp/v/bin/python generate.py

Each case is an XML file under `made/` and a block in `made.txt`; the same input gives the same bytes. To add a case, call `valid` or
`refused` below. The keys under `keys/` are test keys and protect nothing. Responses of real identity providers are under `real/`, with
their blocks in `real.txt`: this script does not touch them.
"""

import base64, hashlib, pathlib, re, shutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from lxml import etree

HERE = pathlib.Path(__file__).parent
MADE = HERE / "made"
IDP, SP, ACS, REQUEST = "https://login.example/saml", "https://gateway.example/saml/corp/metadata", "https://gateway.example/saml/corp/acs", "_request"
PROTOCOL, ASSERTION, DS = "urn:oasis:names:tc:SAML:2.0:protocol", "urn:oasis:names:tc:SAML:2.0:assertion", "http://www.w3.org/2000/09/xmldsig#"
MORE, ENC, ENC11 = "http://www.w3.org/2001/04/xmldsig-more#", "http://www.w3.org/2001/04/xmlenc#", "http://www.w3.org/2009/xmlenc11#"
EXCLUSIVE, ENVELOPED = "http://www.w3.org/2001/10/xml-exc-c14n#", DS + "enveloped-signature"
BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
# The corpus' clock is at 1800000000, which is 2027-01-15T08:00:00Z.
NOW, BEFORE, AFTER, LONG_AGO = "2027-01-15T08:00:00Z", "2027-01-15T07:59:30Z", "2027-01-15T08:05:00Z", "2027-01-15T07:00:00Z"


def key(name):
    return serialization.load_pem_private_key((HERE / f"keys/test-{name}.key.pem").read_bytes(), None)


def certificate(name):
    found = x509.load_pem_x509_certificate((HERE / f"keys/test-{name}.crt.pem").read_bytes())
    return base64.b64encode(found.public_bytes(serialization.Encoding.DER)).decode()


# --- what an identity provider writes -------------------------------------------------------------------------------------------------

def assertion(id="_assertion", issuer=IDP, name="ada@example.com", name_id=None, format="urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress",
              confirmation=None, recipient=f' Recipient="{ACS}"', until=AFTER, answers=f' InResponseTo="{REQUEST}"', data="", method=BEARER,
              conditions=None, not_before=BEFORE, not_after=AFTER, audience=f"<saml:AudienceRestriction><saml:Audience>{SP}</saml:Audience></saml:AudienceRestriction>",
              statement=None, session_until="2027-01-15T16:00:00Z", groups=("dba", "developers"), attributes=None, advice="", version="2.0"):
    name_id = name_id if name_id is not None else f'<saml:NameID Format="{format}">{name}</saml:NameID>'
    if confirmation is None:
        confirmation = (f'<saml:SubjectConfirmation Method="{method}"><saml:SubjectConfirmationData NotOnOrAfter="{until}"{recipient}{answers}>{data}'
                        '</saml:SubjectConfirmationData></saml:SubjectConfirmation>')
    if conditions is None:
        conditions = f'<saml:Conditions NotBefore="{not_before}" NotOnOrAfter="{not_after}">{audience}</saml:Conditions>'
    if statement is None:
        statement = (f'<saml:AuthnStatement AuthnInstant="{BEFORE}" SessionIndex="_session" SessionNotOnOrAfter="{session_until}"><saml:AuthnContext>'
                     '<saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport</saml:AuthnContextClassRef>'
                     '</saml:AuthnContext></saml:AuthnStatement>')
    if attributes is None:
        values = "".join(f'<saml:AttributeValue xsi:type="xs:string">{group}</saml:AttributeValue>' for group in groups)
        attributes = ('<saml:AttributeStatement><saml:Attribute Name="urn:oid:1.3.6.1.4.1.5923.1.5.1.1" FriendlyName="groups" '
                      f'NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:uri">{values}</saml:Attribute>'
                      '<saml:Attribute Name="displayName"><saml:AttributeValue xsi:type="xs:string">Ada Lovelace</saml:AttributeValue></saml:Attribute>'
                      '</saml:AttributeStatement>')
    return (f'<saml:Assertion xmlns:saml="{ASSERTION}" xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
            f'ID="{id}" Version="{version}" IssueInstant="{BEFORE}"><saml:Issuer>{issuer}</saml:Issuer><saml:Subject>{name_id}{confirmation}</saml:Subject>'
            f'{conditions}{advice}{statement}{attributes}</saml:Assertion>')


def response(body=None, id="_response", answers=f' InResponseTo="{REQUEST}"', destination=f' Destination="{ACS}"', issuer=f"<saml:Issuer>{IDP}</saml:Issuer>",
             status='<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/>', version="2.0", extensions=""):
    body = assertion() if body is None else body
    return (f'<samlp:Response xmlns:samlp="{PROTOCOL}" xmlns:saml="{ASSERTION}" ID="{id}" Version="{version}" IssueInstant="{NOW}"{destination}{answers}>'
            f'{issuer}{extensions}<samlp:Status>{status}</samlp:Status>{body}</samlp:Response>')


def signature(xml, id, by="idp", method=MORE + "rsa-sha256", digest=ENC + "sha256", transforms=(ENVELOPED, EXCLUSIVE), uri=None, info=None, object="",
              canonical=EXCLUSIVE, references=None, transform_content=None, attributes=""):
    """The signature of the element with this ID, as it stands in the document without it."""
    element = next(one for one in etree.fromstring(xml).iter() if one.get("ID") == id)
    bytes_ = etree.tostring(element, method="c14n", exclusive=True)
    hash_of = {ENC + "sha256": "sha256", MORE + "sha384": "sha384", ENC + "sha512": "sha512", DS + "sha1": "sha1"}
    value = base64.b64encode(hashlib.new(hash_of[digest], bytes_).digest()).decode()
    content = transform_content or {}
    steps = "".join(f'<ds:Transform Algorithm="{step}">{content.get(step, "")}</ds:Transform>' for step in transforms)
    uri = f"#{id}" if uri is None else uri
    reference = (f'<ds:Reference URI="{uri}"><ds:Transforms>{steps}</ds:Transforms><ds:DigestMethod Algorithm="{digest}"></ds:DigestMethod>'
                 f'<ds:DigestValue>{value}</ds:DigestValue></ds:Reference>')
    reference = reference if references is None else references(reference)
    signed = (f'<ds:SignedInfo xmlns:ds="{DS}"><ds:CanonicalizationMethod Algorithm="{canonical}"></ds:CanonicalizationMethod>'
              f'<ds:SignatureMethod Algorithm="{method}"></ds:SignatureMethod>{reference}</ds:SignedInfo>')
    hash = {"rsa-sha256": hashes.SHA256, "rsa-sha384": hashes.SHA384, "rsa-sha512": hashes.SHA512, "rsa-sha1": hashes.SHA1}.get(method.split("#")[1], hashes.SHA256)
    made = key(by).sign(signed.encode(), padding.PKCS1v15(), hash())
    if "hmac" in method:
        import hmac
        public = key("idp").public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        made = hmac.new(public, signed.encode(), "sha256").digest()
    if info is None:
        info = f"<ds:KeyInfo><ds:X509Data><ds:X509Certificate>{certificate(by)}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>"
    signed = signed.replace(f' xmlns:ds="{DS}"', "")
    return f'<ds:Signature xmlns:ds="{DS}"{attributes}>{signed}<ds:SignatureValue>{base64.b64encode(made).decode()}</ds:SignatureValue>{info}{object}</ds:Signature>'


def after_issuer(xml, id, what):
    """Puts something behind the issuer of the element with this ID, where a signature stands."""
    start = xml.index(f'ID="{id}"')
    end = xml.index("</saml:Issuer>", start) + len("</saml:Issuer>")
    return xml[:end] + what + xml[end:]


def sign(xml, id="_assertion", **how):
    return after_issuer(xml, id, signature(xml, id, **how))


def signed(body=None, **about):
    return sign(response(body, **about))


def oaep(message, to):
    """RSA-OAEP with MGF1 and SHA-1, with a fixed seed: the corpus is the same whenever it is made."""
    public = key(to).public_key()
    size, h = public.key_size // 8, 20
    mask = lambda seed, length: b"".join(hashlib.sha1(seed + n.to_bytes(4, "big")).digest() for n in range(length // h + 1))[:length]
    xor = lambda a, b: bytes(x ^ y for x, y in zip(a, b))
    block = hashlib.sha1(b"").digest() + bytes(size - len(message) - 2 * h - 2) + b"\1" + message
    seed = hashlib.sha1(b"seed").digest()
    block = xor(block, mask(seed, size - h - 1))
    padded = b"\0" + xor(seed, mask(block, h)) + block
    numbers = public.public_numbers()
    return pow(int.from_bytes(padded, "big"), numbers.e, numbers.n).to_bytes(size, "big")


def pkcs1(message, to):
    public = key(to).public_key()
    size = public.key_size // 8
    padded = b"\0\2" + b"\1" * (size - len(message) - 3) + b"\0" + message
    numbers = public.public_numbers()
    return pow(int.from_bytes(padded, "big"), numbers.e, numbers.n).to_bytes(size, "big")


def encrypted(xml, to="sp", cipher=ENC11 + "aes256-gcm", transport=ENC + "rsa-oaep-mgf1p", plain=None, change=lambda text: text, data=None):
    """The response with its assertion encrypted."""
    start, end = xml.index("<saml:Assertion "), xml.rindex("</saml:Assertion>") + len("</saml:Assertion>")
    plain = (xml[start:end] if plain is None else plain).encode()
    secret, nonce = hashlib.sha256(b"key").digest()[: 16 if "128" in cipher else 32], hashlib.sha256(b"nonce").digest()
    if "gcm" in cipher:
        text = nonce[:12] + AESGCM(secret).encrypt(nonce[:12], plain, None)
    else:
        pad = 16 - len(plain) % 16
        box = Cipher(algorithms.AES(secret), modes.CBC(nonce[:16])).encryptor()
        text = nonce[:16] + box.update(plain + bytes(pad - 1) + bytes([pad])) + box.finalize()
    wrapped = (pkcs1 if transport.endswith("rsa-1_5") else oaep)(secret, to)
    b64 = lambda what: base64.b64encode(what).decode()
    text = f"<xenc:CipherData><xenc:CipherValue>{b64(change(text))}</xenc:CipherValue></xenc:CipherData>" if data is None else data
    body = (f'<saml:EncryptedAssertion><xenc:EncryptedData xmlns:xenc="{ENC}" Type="{ENC}Element"><xenc:EncryptionMethod Algorithm="{cipher}"/>'
            f'<ds:KeyInfo xmlns:ds="{DS}"><xenc:EncryptedKey><xenc:EncryptionMethod Algorithm="{transport}"/><xenc:CipherData><xenc:CipherValue>'
            f"{b64(wrapped)}</xenc:CipherValue></xenc:CipherData></xenc:EncryptedKey></ds:KeyInfo>{text}</xenc:EncryptedData></saml:EncryptedAssertion>")
    return xml[:start] + body + xml[end:]


# --- the corpus -----------------------------------------------------------------------------------------------------------------------

blocks, files = [], set()


def case(slug, name, xml, lines):
    assert slug not in files, slug
    files.add(slug)
    (MADE / f"{slug}.xml").write_text(xml)
    blocks.append("\n".join([f"name: {name}", f"file: made/{slug}.xml", *lines]))


def refused(reason, slug, name, xml, *lines):
    case(slug, name, xml, [f"refused: {reason}", *lines])


def valid(slug, name, xml, *lines, **differs):
    values = {"id": "_assertion", "name_id": "ada@example.com", "session_index": "_session", "session_not_on_or_after": "1800028800",
              "authn_instant": "1799999970", "not_on_or_after": "1800000300"} | differs
    attributes = ["displayName=Ada Lovelace", "groups=dba", "groups=developers",
                  "urn:oid:1.3.6.1.4.1.5923.1.5.1.1=dba", "urn:oid:1.3.6.1.4.1.5923.1.5.1.1=developers"]
    if "attributes" in values:
        attributes = values.pop("attributes")
    case(slug, name, xml, [f"{k}: {v}" for k, v in values.items()] + [f"attribute: {one}" for one in attributes] + list(lines))


def cases():
    good = signed()
    both = sign(good, "_response")
    valid("assertion-signed", "the assertion is signed", good)
    valid("both-signed", "the assertion and the response are signed", both)
    valid("encrypted", "the signed assertion is encrypted", encrypted(good))
    valid("encrypted-128", "the signed assertion is encrypted with AES-128", encrypted(good, cipher=ENC11 + "aes128-gcm"))
    valid("encrypted-cbc-signed", "the signed assertion is encrypted with AES-CBC, and the response signed after that",
          sign(encrypted(good, cipher=ENC + "aes128-cbc"), "_response"))
    valid("encrypted-both-signed", "the signed assertion is encrypted, and the response signed after that", sign(encrypted(good), "_response"))
    valid("sha512", "signed with RSA and SHA-512", sign(response(), method=MORE + "rsa-sha512", digest=ENC + "sha512"))
    valid("no-key-info", "the signature names no key", sign(response(), info=""))
    valid("no-issuer", "the response itself has no issuer", signed(issuer=""))
    valid("no-destination", "the response itself has no destination", signed(destination=""))
    valid("declaration", "with an XML declaration and white space", '<?xml version="1.0" encoding="UTF-8"?>\n' + good + "\n")
    valid("persistent", "a persistent NameID, and no end of the session", signed(assertion(
        name="8f0a", format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent", statement=f'<saml:AuthnStatement AuthnInstant="{BEFORE}"/>')),
        name_id="8f0a", session_index="", session_not_on_or_after="")
    valid("skew-late", "ended within the skew", signed(assertion(until="2027-01-15T07:59:01Z", not_after="2027-01-15T07:59:01Z")), not_on_or_after="1799999941")
    valid("skew-early", "begins within the skew", signed(assertion(not_before="2027-01-15T08:00:59Z")))
    valid("instant-last", "an end of conditions as far as can be", signed(assertion(not_after="9999-12-30T20:00:00Z")))
    valid("two-confirmations", "one of two confirmations is for this address", signed(assertion(confirmation="".join(
        f'<saml:SubjectConfirmation Method="{BEARER}"><saml:SubjectConfirmationData NotOnOrAfter="{AFTER}" Recipient="{to}" InResponseTo="{REQUEST}"/>'
        "</saml:SubjectConfirmation>" for to in ("https://other.example/acs", ACS)))))
    valid("entities", "characters that must be escaped", signed(assertion(name="o&apos;brien&amp;co&#x40;example.com")), name_id="o'brien&co@example.com")
    valid("attributes", "attributes of many kinds", signed(assertion(attributes=(
        '<saml:AttributeStatement><saml:Attribute Name="urn:a" FriendlyName="groups"><saml:AttributeValue>a</saml:AttributeValue></saml:Attribute>'
        '<saml:Attribute Name="groups"><saml:AttributeValue>dba</saml:AttributeValue><saml:AttributeValue xsi:nil="true"/><saml:AttributeValue/></saml:Attribute>'
        '<saml:Attribute Name="groups"><saml:AttributeValue>ops</saml:AttributeValue><saml:AttributeValue><x>not text</x></saml:AttributeValue></saml:Attribute>'
        '<saml:Attribute Name="none"/></saml:AttributeStatement>'))), attributes=["groups=dba", "groups=", "groups=ops", "none", "urn:a=a"])
    valid("two-audiences", "this service provider is one of two audiences", signed(assertion(audience=(
        f"<saml:AudienceRestriction><saml:Audience>https://other.example</saml:Audience><saml:Audience>{SP}</saml:Audience></saml:AudienceRestriction>"))))
    valid("one-time-use", "a condition that is kept", signed(assertion(audience=(
        f"<saml:AudienceRestriction><saml:Audience>{SP}</saml:Audience></saml:AudienceRestriction><saml:OneTimeUse/>"))))

    wrapping(good, both)
    signatures(good, both)
    conditions(good)
    encryption(good, both)
    reading(good)


def wrapping(good, both):
    """Signature wrapping, numbered as by Somorovsky et al., "On Breaking SAML: Be Whoever You Want to Be" (2012)."""
    evil = assertion(id="_evil", name="root@example.com")
    signed_assertion = good[good.index("<saml:Assertion "):good.index("</samlp:Response>")]
    own = signature(response(), "_assertion")
    bare = assertion()
    only_response = sign(response(), "_response")
    response_signature = signature(response(), "_response")
    evil_response = response(evil, id="_evil_response")
    refused("wrapped", "xsw-1", "XSW 1: the signed response in the signature of another, as an object", after_issuer(
        evil_response, "_evil_response", response_signature.replace("</ds:Signature>", f"<ds:Object>{response()}</ds:Object></ds:Signature>")))
    refused("wrapped", "xsw-2", "XSW 2: the signed response before the signature, in another", after_issuer(
        evil_response, "_evil_response", response() + response_signature))
    refused("wrapped", "xsw-3", "XSW 3: another assertion before the signed one", response(evil + signed_assertion))
    refused("wrapped", "xsw-4", "XSW 4: the signed assertion in another", response(evil.replace("</saml:Assertion>", signed_assertion + "</saml:Assertion>")))
    refused("wrapped", "xsw-5", "XSW 5: the signature in another assertion, the signed one behind it",
            response(after_issuer(evil, "_evil", own) + bare))
    refused("wrapped", "xsw-6", "XSW 6: the signature in another assertion, the signed one in the signature", response(after_issuer(
        evil, "_evil", own.replace("</ds:Signature>", bare + "</ds:Signature>"))))
    refused("wrapped", "xsw-7", "XSW 7: another assertion in extensions", response(signed_assertion, extensions=f"<samlp:Extensions>{evil}</samlp:Extensions>"))
    refused("wrapped", "xsw-8", "XSW 8: the signed assertion as an object in the signature of another", response(after_issuer(
        evil, "_evil", own.replace("</ds:Signature>", f"<ds:Object>{bare}</ds:Object></ds:Signature>"))))
    refused("wrapped", "xsw-extensions", "the signed assertion in extensions, another in its place",
            response(evil, extensions=f"<samlp:Extensions>{signed_assertion}</samlp:Extensions>"))
    refused("wrapped", "xsw-confirmation", "the signed assertion in the confirmation of another", response(assertion(
        id="_evil", name="root@example.com", data=signed_assertion)))
    refused("wrapped", "xsw-advice", "the signed assertion as advice of another", response(assertion(
        id="_evil", name="root@example.com", advice=f"<saml:Advice>{signed_assertion}</saml:Advice>")))
    refused("wrapped", "xsw-status", "the signed assertion in the status, another in its place", response(evil, status=(
        '<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/><samlp:StatusDetail>' + signed_assertion + "</samlp:StatusDetail>")))
    refused("wrapped", "only-in-extensions", "the only assertion, signed, in extensions", response("", extensions=f"<samlp:Extensions>{signed_assertion}</samlp:Extensions>"))
    refused("wrapped", "two-assertions", "two assertions, both signed", sign(sign(response(assertion() + assertion(id="_other", name="bob@example.com"))), "_other"))
    refused("wrapped", "plain-and-encrypted", "a signed assertion, and another encrypted",
            response(signed_assertion + re.search("<saml:EncryptedAssertion>.*</saml:EncryptedAssertion>", encrypted(good))[0]))
    refused("duplicate-id", "duplicate-id", "another assertion with the ID of the signed one", response(assertion(name="root@example.com") + signed_assertion))
    refused("duplicate-id", "duplicate-id-response", "the response has the assertion's ID", sign(response(id="_assertion").replace('ID="_assertion"', 'ID="_x"', 1)).replace('ID="_x"', 'ID="_assertion"', 1))
    refused("duplicate-id", "duplicate-id-other-case", "an attribute `Id` with the ID of the signed assertion",
            response(signed_assertion, extensions='<samlp:Extensions><x Id="_assertion"/></samlp:Extensions>'))
    refused("wrapped", "response-in-response", "the signed response in another", evil_response.replace("<samlp:Status>", f"<samlp:Extensions>{only_response}</samlp:Extensions><samlp:Status>", 1))
    refused("wrapped", "response-empty", "an empty response in the signed one", signed(extensions=(
        f'<samlp:Extensions><samlp:Response ID="_other" Version="2.0" IssueInstant="{NOW}"/></samlp:Extensions>')))
    refused("wrapped", "second-signature", "two signatures in one assertion", after_issuer(good, "_assertion", own))
    refused("wrapped", "signature-elsewhere", "another signature, in an attribute", signed(assertion(groups=(signature(response(), "_response"),))))
    refused("reference", "moved-signature", "the assertion's signature in the response", sign(after_issuer(response(), "_response", own), "_assertion"))
    refused("unsigned", "signature-in-subject", "the signature in the response, the assertion bare", only_response)
    # Nothing but the names differs from what is right.
    evil_namespace = lambda text: text.replace("<saml:", "<evil:").replace("</saml:", "</evil:").replace("xmlns:saml=", "xmlns:evil=").replace(f'xmlns:evil="{ASSERTION}"', 'xmlns:evil="urn:evil"')
    refused("namespace", "namespace-assertion", "another assertion in a namespace of its own", response(evil_namespace(evil) + signed_assertion))
    refused("namespace", "namespace-name-id", "another NameID in a namespace of its own", signed(assertion(
        name_id='<e:NameID xmlns:e="urn:evil">root</e:NameID><saml:NameID>ada@example.com</saml:NameID>')))
    refused("namespace", "namespace-attribute", "an ID in a namespace of its own", good.replace("<saml:Assertion ", '<saml:Assertion xmlns:e="urn:evil" e:ID="_other" ', 1))
    refused("namespace", "namespace-recipient", "a recipient in a namespace of its own", signed(assertion(recipient=f' xmlns:e="urn:evil" e:Recipient="{ACS}" Recipient="https://other.example/acs"')))
    refused("namespace", "namespace-signature", "a signature in a namespace of its own", response(signed_assertion.replace(f'xmlns:ds="{DS}"', 'xmlns:ds="urn:evil"')))
    refused("namespace", "namespace-response", "a response in another namespace", good.replace(PROTOCOL, ASSERTION))
    refused("namespace", "saml-1", "a response of SAML 1.1", '<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:1.0:protocol" ResponseID="_response" MajorVersion="1" MinorVersion="1"/>')


def signatures(good, both):
    refused("unsigned", "unsigned", "nothing is signed", response())
    refused("unsigned", "response-signed", "only the response is signed", sign(response(), "_response"))
    refused("signature", "tampered-name", "the NameID was changed", good.replace("ada@example.com", "root@example.com"))
    refused("signature", "tampered-attribute", "a group was changed", good.replace(">dba<", ">admin<"))
    refused("signature", "tampered-response", "the response is signed and was changed, the assertion not", both.replace(f'IssueInstant="{NOW}"', f'IssueInstant="{BEFORE}"', 1))
    end = "</samlp:Response>"
    late = both.replace(signature(good, "_response"), "").replace(end, signature(good, "_response") + end)
    refused("signature", "tampered-response-late", "the response was changed, and its signature stands behind the assertion",
            late.replace(f'IssueInstant="{NOW}"', f'IssueInstant="{BEFORE}"', 1))
    refused("signature", "tampered-time", "the end was changed", good.replace(AFTER, "2027-01-16T08:05:00Z"))
    refused("signature", "tampered-digest", "a group was changed and its digest too", re.sub(
        "<ds:DigestValue>[^<]*", lambda _: re.search("<ds:DigestValue>[^<]*", signed(assertion(groups=("admin",))))[0], good.replace(
            '<saml:AttributeValue xsi:type="xs:string">dba</saml:AttributeValue><saml:AttributeValue xsi:type="xs:string">developers</saml:AttributeValue>',
            '<saml:AttributeValue xsi:type="xs:string">admin</saml:AttributeValue>')))
    refused("certificate", "foreign-key", "signed with another key, and its certificate beside it", sign(response(), by="foreign"))
    refused("signature", "foreign-key-hidden", "signed with another key, the right certificate beside it", sign(
        response(), by="foreign", info=f"<ds:KeyInfo><ds:X509Data><ds:X509Certificate>{certificate('idp')}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>"))
    numbers = key("foreign").public_key().public_numbers()
    number = lambda n: base64.b64encode(n.to_bytes((n.bit_length() + 7) // 8, "big")).decode()
    refused("signature", "foreign-key-value", "signed with another key, which stands beside it", sign(response(), by="foreign", info=(
        f"<ds:KeyInfo><ds:KeyValue><ds:RSAKeyValue><ds:Modulus>{number(numbers.n)}</ds:Modulus><ds:Exponent>{number(numbers.e)}</ds:Exponent></ds:RSAKeyValue></ds:KeyValue></ds:KeyInfo>")))
    refused("signature", "foreign-key-address", "signed with another key, which stands at an address", sign(response(), by="foreign", info=(
        '<ds:KeyInfo><ds:RetrievalMethod URI="https://evil.example/key"/></ds:KeyInfo>')))
    refused("certificate", "second-certificate", "signed with the right key, another certificate beside it", sign(
        response(), info=f"<ds:KeyInfo><ds:X509Data><ds:X509Certificate>{certificate('foreign')}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>"))
    refused("algorithm", "sha1", "signed with SHA-1", sign(response(), method=DS + "rsa-sha1", digest=DS + "sha1"))
    refused("algorithm", "sha1-digest", "a digest by SHA-1", sign(response(), digest=DS + "sha1"))
    refused("algorithm", "hmac", "HMAC with the public key", sign(response(), method=MORE + "hmac-sha256"))
    refused("algorithm", "ecdsa", "another algorithm, which the key cannot", sign(response(), method=MORE + "ecdsa-sha256"))
    refused("algorithm", "no-algorithm", "an algorithm that there is not", sign(response(), method="http://www.w3.org/2000/09/xmldsig#none"))
    empty = f'<ds:Signature xmlns:ds="{DS}"/>'
    refused("malformed", "empty-signature", "a signature that is empty", after_issuer(response(), "_assertion", empty))
    refused("malformed", "signature-without-info", "a signature that signs nothing", re.sub("<ds:SignedInfo>.*</ds:SignedInfo>", "", good))
    refused("signature", "signature-without-value", "a signature without a value", re.sub("<ds:SignatureValue>[^<]*", "<ds:SignatureValue>", good))
    refused("signature", "signature-value-text", "a signature whose value is no base64", re.sub("<ds:SignatureValue>[^<]*", "<ds:SignatureValue>!!", good))
    refused("unsigned", "stripped", "the signature was taken out of the assertion, that of the response is there", sign(
        response(), "_response"))
    refused("reference", "no-reference", "a signature without a reference", sign(response(), references=lambda _: ""))
    refused("reference", "reference-empty", "a reference to the whole document", sign(response(), uri=""))
    refused("reference", "reference-nothing", "a reference to nothing", sign(response(), uri="#_nobody"))
    refused("reference", "reference-other", "a reference to the response", sign(response(), uri="#_response"))
    refused("reference", "reference-file", "a reference to a file", sign(response(), uri="file:///etc/passwd"))
    refused("reference", "reference-address", "a reference to an address", sign(response(), uri="https://evil.example/assertion"))
    refused("reference", "reference-xpointer", "a reference by XPointer", sign(response(), uri="#xpointer(id('_assertion'))"))
    refused("reference", "reference-two", "two references", sign(response(), references=lambda one: one + one))
    xpath = "http://www.w3.org/TR/1999/REC-xpath-19991116"
    refused("transform", "xpath", "a transform that takes all but the issuer away", sign(response(), transforms=(ENVELOPED, xpath, EXCLUSIVE), transform_content={
        xpath: "<ds:XPath>ancestor-or-self::*[local-name()='Issuer']</ds:XPath>"}))
    xslt = "http://www.w3.org/TR/1999/REC-xslt-19991116"
    refused("transform", "xslt", "a transform by XSLT", sign(response(), transforms=(ENVELOPED, xslt, EXCLUSIVE), transform_content={
        xslt: '<x:stylesheet xmlns:x="http://www.w3.org/1999/XSL/Transform" version="1.0"><x:template match="/"><a/></x:template></x:stylesheet>'}))
    refused("transform", "base64", "a transform by base64", sign(response(), transforms=(ENVELOPED, DS + "base64")))
    refused("transform", "c14n-comments", "canonicalization with comments", sign(response(), transforms=(ENVELOPED, EXCLUSIVE + "WithComments")))
    refused("transform", "c14n-inclusive", "inclusive canonicalization of what is signed", sign(response(), canonical="http://www.w3.org/TR/2001/REC-xml-c14n-20010315"))
    refused("transform", "no-transforms", "no transforms", good.replace(re.search("<ds:Transforms>.*</ds:Transforms>", good)[0], ""))
    refused("wrapped", "object", "an object in the signature", sign(response(), object="<ds:Object><x/></ds:Object>"))


def conditions(good):
    about = lambda **changes: signed(assertion(**changes))
    refused("audience", "audience-other", "for another audience", about(audience="<saml:AudienceRestriction><saml:Audience>https://other.example</saml:Audience></saml:AudienceRestriction>"))
    refused("audience", "audience-none", "for no audience", about(audience=""))
    refused("audience", "audience-empty", "with an empty restriction", about(audience="<saml:AudienceRestriction/>"))
    refused("audience", "audience-prefix", "for an audience that begins like this one", about(audience=f"<saml:AudienceRestriction><saml:Audience>{SP}/x</saml:Audience></saml:AudienceRestriction>"))
    refused("audience", "audience-two-restrictions", "restricted twice, once to another", about(audience="".join(
        f"<saml:AudienceRestriction><saml:Audience>{one}</saml:Audience></saml:AudienceRestriction>" for one in (SP, "https://other.example"))))
    refused("audience", "no-conditions", "without conditions", about(conditions=""))
    refused("condition", "condition-unknown", "a condition that nobody knows", about(audience=(
        f'<saml:AudienceRestriction><saml:Audience>{SP}</saml:Audience></saml:AudienceRestriction><saml:Condition xmlns:e="urn:e" xsi:type="e:Moon"/>')))
    refused("recipient", "recipient-other", "for another recipient", about(recipient=' Recipient="https://other.example/saml/acs"'))
    refused("recipient", "recipient-slash", "for this recipient with a slash behind", about(recipient=f' Recipient="{ACS}/"'))
    refused("recipient", "recipient-case", "for this recipient in capitals", about(recipient=f' Recipient="{ACS.upper()}"'))
    refused("recipient", "recipient-none", "for no recipient", about(recipient=""))
    refused("destination", "destination-other", "sent to another address", signed(destination=' Destination="https://other.example/saml/acs"'))
    refused("destination", "destination-empty", "sent to an empty address", signed(destination=' Destination=""'))
    refused("destination", "destination-none-signed", "a signed response without a destination", sign(signed(destination=""), "_response"))
    refused("expired", "expired", "ended", about(until=LONG_AGO, not_after=LONG_AGO))
    refused("expired", "expired-conditions", "its conditions ended", about(not_after=LONG_AGO))
    refused("expired", "expired-confirmation", "its confirmation ended", about(until=LONG_AGO))
    refused("expired", "expired-skew", "ended just outside of the skew", about(until="2027-01-15T07:59:00Z", not_after="2027-01-15T07:59:00Z"))
    refused("not-yet", "not-yet", "begins tomorrow", about(not_before="2027-01-16T08:00:00Z", not_after="2027-01-16T09:00:00Z"))
    refused("not-yet", "not-yet-skew", "begins just outside of the skew", about(not_before="2027-01-15T08:01:01Z"))
    refused("session-expired", "session-expired", "the session ended", about(session_until=LONG_AGO))
    refused("malformed", "instant-none", "an end that is no instant", about(not_after="tomorrow"))
    refused("malformed", "instant-far", "an end with which nothing can be reckoned", about(not_after="9999-12-31T23:59:59Z"))
    refused("malformed", "instant-old", "a beginning before 1970", about(not_before="1969-12-31T23:59:59Z"))
    refused("confirmation", "confirmation-none", "without a confirmation", about(confirmation=""))
    refused("confirmation", "confirmation-sender-vouches", "a confirmation by whoever sends it", about(method="urn:oasis:names:tc:SAML:2.0:cm:sender-vouches"))
    refused("confirmation", "confirmation-no-end", "a confirmation without an end", about(confirmation=(
        f'<saml:SubjectConfirmation Method="{BEARER}"><saml:SubjectConfirmationData Recipient="{ACS}" InResponseTo="{REQUEST}"/></saml:SubjectConfirmation>')))
    refused("confirmation", "confirmation-begin", "a confirmation with a beginning, which must not be", about(recipient=f' NotBefore="{BEFORE}" Recipient="{ACS}"'))
    refused("issuer", "issuer-other", "an assertion of another issuer", about(issuer="https://evil.example/saml"))
    refused("issuer", "issuer-response", "a response of another issuer", signed(issuer="<saml:Issuer>https://evil.example/saml</saml:Issuer>"))
    refused("issuer", "issuer-format", "an issuer that is no entity", sign(response(assertion().replace("<saml:Issuer>", '<saml:Issuer Format="urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress">', 1))))
    refused("issuer", "issuer-blank", "an issuer with a blank behind", about(issuer=IDP + " "))
    refused("in-response-to", "answers-other", "answers another request", signed(assertion(answers=' InResponseTo="_other"'), answers=' InResponseTo="_other"'))
    refused("in-response-to", "answers-mixed", "the response answers this request, the assertion another", signed(assertion(answers=' InResponseTo="_other"')))
    refused("in-response-to", "answers-none-inside", "the response answers this request, the assertion none", signed(assertion(answers="")))
    refused("unsolicited", "answers-none-outside", "the assertion answers this request, the response none", signed(answers=""))
    refused("unsolicited", "unsolicited", "answers nothing", signed(assertion(answers=""), answers=""))
    refused("in-response-to", "answers-done", "answers a request that is not pending any more", signed(), "pending:")
    refused("replayed", "replayed", "comes twice", good, "twice: yes")
    failed = '<samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Responder"><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:AuthnFailed"/></samlp:StatusCode>'
    refused("status", "status-failed", "a failed login", response("", status=failed))
    refused("status", "status-failed-assertion", "a failed login, with an assertion all the same", signed(status=failed))
    refused("status", "status-none", "no status", signed().replace(re.search("<samlp:Status>.*</samlp:Status>", signed())[0], ""))
    refused("no-assertion", "no-assertion", "success without an assertion", response(""))
    refused("malformed", "version", "an assertion of SAML 1.1", about(version="1.1"))
    refused("subject", "no-subject", "nobody", sign(response(re.sub("<saml:NameID.*</saml:NameID>", "", assertion()))))
    refused("subject", "empty-name", "an empty name", about(name=" "))
    refused("subject", "blank-name", "a name with a blank behind", about(name="ada@example.com "))
    refused("subject", "control-name", "a name with a line break", about(name="ada&#10;root"))
    refused("subject", "two-names", "two names", about(name_id="<saml:NameID>ada</saml:NameID><saml:NameID>root</saml:NameID>"))
    refused("subject", "element-name", "a name with an element in it", about(name="<x>root</x>ada"))
    refused("subject", "no-login", "no statement on a login", about(statement=""))
    refused("transient", "transient", "a name that is another one tomorrow", about(format="urn:oasis:names:tc:SAML:2.0:nameid-format:transient"))


def encryption(good, both):
    refused("no-key", "encrypted-no-key", "encrypted, and there is no key here", encrypted(good), "key: none")
    refused("decryption", "encrypted-other-key", "encrypted to another key", encrypted(good, to="foreign"))
    refused("cipher", "encrypted-cbc", "encrypted with AES-CBC, the response not signed", encrypted(good, cipher=ENC + "aes256-cbc"))
    refused("signature", "encrypted-cbc-changed", "encrypted with AES-CBC and changed, the response signed before that", encrypted(
        good, cipher=ENC + "aes256-cbc", change=lambda text: text[:-1] + bytes([text[-1] ^ 1])).replace("</saml:Issuer>", "</saml:Issuer>" + signature(
            encrypted(good, cipher=ENC + "aes256-cbc"), "_response"), 1))
    refused("cipher", "encrypted-3des", "encrypted with triple DES, the response signed", sign(
        encrypted(good).replace(ENC11 + "aes256-gcm", ENC + "tripledes-cbc"), "_response"))
    refused("cipher", "encrypted-pkcs1", "its key encrypted with RSA PKCS#1 v1.5", encrypted(good, transport=ENC + "rsa-1_5"))
    refused("decryption", "encrypted-tampered", "what is encrypted was changed", encrypted(good, change=lambda text: text[:40] + bytes([text[40] ^ 1]) + text[41:]))
    refused("unsigned", "encrypted-unsigned", "encrypted by anybody, and not signed", encrypted(response()))
    refused("unsigned", "encrypted-response-signed", "encrypted and not signed, in a signed response", sign(encrypted(response()), "_response"))
    refused("signature", "encrypted-changed-name", "encrypted after its NameID was changed", encrypted(good.replace("ada@example.com", "root@example.com")))
    refused("signature", "encrypted-response-tampered", "the signed response with an encrypted assertion was changed", sign(
        encrypted(good), "_response").replace(f'IssueInstant="{NOW}"', f'IssueInstant="{BEFORE}"', 1))
    evil = assertion(id="_evil", name="root@example.com")
    plain = good[good.index("<saml:Assertion "):good.index("</samlp:Response>")]
    refused("wrapped", "encrypted-two", "two assertions, encrypted as one", encrypted(good, plain=evil + plain))
    refused("wrapped", "encrypted-wrapped", "an assertion in another, encrypted", encrypted(good, plain=evil.replace("</saml:Assertion>", plain + "</saml:Assertion>")))
    refused("markup", "encrypted-comment", "a comment in what is encrypted", encrypted(good.replace("ada@example.com", "ada@example.com<!---->.evil.example")))
    refused("doctype", "encrypted-doctype", "a DOCTYPE in what is encrypted", encrypted(good, plain="<!DOCTYPE x>" + plain))
    refused("decryption", "encrypted-twice", "encrypted twice", encrypted(good, plain=re.search("<saml:EncryptedAssertion>.*</saml:EncryptedAssertion>", encrypted(good))[0].replace(
        "<saml:EncryptedAssertion>", f'<saml:EncryptedAssertion xmlns:saml="{ASSERTION}">')))
    refused("malformed", "encrypted-address", "what is encrypted stands at an address", encrypted(
        good, data='<xenc:CipherData><xenc:CipherReference URI="https://evil.example/text"/></xenc:CipherData>'))
    refused("malformed", "encrypted-empty", "nothing is encrypted", response("<saml:EncryptedAssertion/>"))


def reading(good):
    refused("markup", "comment-name", "a comment in the NameID", good.replace("ada@example.com", "ada@example.com<!---->.evil.example"))
    refused("markup", "comment-name-signed", "a comment in the NameID, signed with it", signed(assertion(name="root@example.com<!---->.evil.example")))
    refused("markup", "comment-attribute", "a comment in a group", good.replace(">dba<", ">dba<!---->-readers<"))
    refused("markup", "cdata", "a CDATA section in the NameID", good.replace("ada@example.com", "<![CDATA[ada@example.com]]>"))
    refused("markup", "instruction", "a processing instruction in the NameID", good.replace("ada@example.com", "ada@example.com<?x?>.evil.example"))
    refused("markup", "stylesheet", "a style sheet", '<?xml-stylesheet href="https://evil.example/x.xsl"?>' + good)
    refused("doctype", "doctype", "a DOCTYPE", "<!DOCTYPE samlp:Response>" + good)
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(10))
    refused("doctype", "laughs", "a billion laughs", f"<!DOCTYPE x [{laughs}]>" + good.replace("ada@example.com", "&l9;"))
    refused("doctype", "external", "an external entity", '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + good.replace("ada@example.com", "&e;"))
    refused("doctype", "parameter", "an external parameter entity", '<!DOCTYPE x [<!ENTITY % e SYSTEM "https://evil.example/x.dtd"> %e;]>' + good)
    refused("doctype", "id-attribute", "a DOCTYPE that declares another ID", '<!DOCTYPE x [<!ATTLIST saml:Subject x ID #IMPLIED>]>' + good)
    refused("malformed", "entity", "an entity that nobody declared", good.replace("ada@example.com", "&root;"))
    refused("malformed", "truncated", "cut off", good[: len(good) // 2])
    refused("malformed", "trailing", "a second document behind the first", good + good)
    refused("malformed", "not-xml", "no XML", "ada@example.com")
    refused("malformed", "empty", "nothing", "")
    refused("malformed", "attribute-twice", "an attribute twice", good.replace("<saml:Assertion ", '<saml:Assertion ID="_other" ', 1))
    refused("malformed", "prefix", "a prefix that nobody declared", good.replace("<saml:AuthnContext>", "<saml:AuthnContext><e:x/>"))
    refused("malformed", "deep", "elements a hundred deep", response(extensions="<x>" * 100 + "</x>" * 100))
    refused("encoding", "encoding", "another encoding", '<?xml version="1.0" encoding="UTF-7"?>' + good)
    refused("malformed", "request", "a request instead of a response", good.replace("samlp:Response", "samlp:AuthnRequest"))
    refused("oversize", "oversize", "longer than any", response(), "padded: 300000")


METADATA = f"""<?xml version="1.0"?>
<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{IDP}">
  <md:IDPSSODescriptor protocolSupportEnumeration="{PROTOCOL}">
    <md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="{DS}"><ds:X509Data><ds:X509Certificate>{certificate("idp")}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>
    <md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="https://login.example/saml/post"/>
    <md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://login.example/saml/redirect?tenant=1&amp;x=2"/>
  </md:IDPSSODescriptor>
</md:EntityDescriptor>
"""

if __name__ == "__main__":
    shutil.rmtree(MADE, ignore_errors=True)
    MADE.mkdir()
    (MADE / "idp.xml").write_text(METADATA)
    cases()
    (HERE / "made.txt").write_text("# Written by generate.py: change it there.\n\n" + "\n\n".join(blocks) + "\n")
    print(len(blocks), "cases")
