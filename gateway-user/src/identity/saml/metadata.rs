use std::fmt::Write;

use super::Settings;

/// What an identity provider may encrypt with, the best first; without it, some would choose AES-CBC, which is not taken.
const METHODS: [&str; 3] = [
    "http://www.w3.org/2009/xmlenc11#aes256-gcm",
    "http://www.w3.org/2009/xmlenc11#aes128-gcm",
    "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p",
];

/// The service provider's metadata, in the order that the schema demands. It names no `NameIDFormat`: SimpleSAMLphp takes `unspecified` for a
/// wish that it cannot fulfil, and gives a transient name where it would have given a lasting one.
pub(super) fn write(settings: &Settings) -> String {
    let mut keys = String::new();
    if let Some(credential) = &settings.credential {
        let certificate = base64_of_first(&credential.certificate);
        let mut methods = String::new();
        for method in METHODS {
            // Writing to a string does not fail.
            let _ = writeln!(methods, r#"      <md:EncryptionMethod Algorithm="{method}"/>"#);
        }
        for (usage, methods) in [("signing", ""), ("encryption", &methods)] {
            let _ = write!(
                keys,
                r#"    <md:KeyDescriptor use="{usage}">
      <ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#">
        <ds:X509Data><ds:X509Certificate>{certificate}</ds:X509Certificate></ds:X509Data>
      </ds:KeyInfo>
{methods}    </md:KeyDescriptor>
"#
            );
        }
    }
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{entity_id}">
  <md:SPSSODescriptor AuthnRequestsSigned="{signed}" WantAssertionsSigned="true" protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">
{keys}    <md:AssertionConsumerService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="{acs_url}" index="0" isDefault="true"/>
  </md:SPSSODescriptor>
</md:EntityDescriptor>
"#,
        entity_id = escaped(&settings.entity_id),
        acs_url = escaped(&settings.acs_url),
        signed = settings.credential.is_some(),
    )
}

fn base64_of_first(pem: &str) -> String {
    let lines = pem.lines().skip_while(|line| !line.starts_with("-----BEGIN CERTIFICATE-----")).skip(1);
    lines.take_while(|line| !line.starts_with("-----END")).map(str::trim).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
