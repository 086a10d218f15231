//! The kinds of values that detectors know.

use std::fmt;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $variant:ident => $name:literal, $secret:literal;)*) => {
        /// A kind of value, with a detector of its own.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Kind] = &[$(Kind::$variant),*];

            /// Its name in a rule and in a record.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Kind::$variant => $name),* }
            }

            /// Whether it lets its holder in somewhere: such values never come to rest, whatever the rules say.
            #[must_use]
            pub fn is_secret(self) -> bool {
                match self { $(Kind::$variant => $secret),* }
            }
        }
    };
}

kinds! {
    /// A payment card number (ISO/IEC 7812), with its check digit (Luhn).
    Card => "card", false;
    /// An international bank account number (ISO 13616), with its check digits.
    Iban => "iban", false;
    /// A social security number of the USA.
    UsSsn => "us-ssn", false;
    /// A resident identity number of China (GB 11643), with its check character.
    ChinaId => "cn-id", false;
    /// An Aadhaar number of India, with its check digit (Verhoeff).
    IndiaAadhaar => "in-aadhaar", false;
    /// A permanent account number of India.
    IndiaPan => "in-pan", false;
    /// A population number (NIK) of Indonesia.
    IndonesiaNik => "id-nik", false;
    /// An identity card number (CNIC) of Pakistan.
    PakistanCnic => "pk-cnic", false;
    /// An identification number (NIN) of Nigeria.
    NigeriaNin => "ng-nin", false;
    /// A taxpayer number (CPF) of Brazil, with its check digits.
    BrazilCpf => "br-cpf", false;
    /// A pension insurance number (SNILS) of Russia, with its check digits.
    RussiaSnils => "ru-snils", false;
    /// A taxpayer number (INN) of a person in Russia, with its check digits.
    RussiaInn => "ru-inn", false;
    /// An individual number (My Number) of Japan, with its check digit.
    JapanMyNumber => "jp-my-number", false;
    /// A population registry code (CURP) of Mexico, with its check digit.
    MexicoCurp => "mx-curp", false;
    /// A tax identification number (Steuer-ID) of Germany, with its check digit.
    GermanyTaxId => "de-tax-id", false;
    /// A registration number (NIR) of France, with its key.
    FranceNir => "fr-nir", false;
    /// A national insurance number of the UK.
    UkNino => "uk-nino", false;
    /// An NHS number of the UK, with its check digit.
    UkNhs => "uk-nhs", false;
    /// A fiscal code of Italy, with its check character.
    ItalyFiscalCode => "it-fiscal-code", false;
    /// An identity number (DNI, NIE) of Spain, with its check letter.
    SpainDni => "es-dni", false;
    /// A resident registration number of South Korea.
    KoreaRrn => "kr-rrn", false;
    /// An identity number (TCKN) of Turkey, with its check digits.
    TurkeyTckn => "tr-tckn", false;
    /// A population number (PESEL) of Poland, with its check digit.
    PolandPesel => "pl-pesel", false;
    /// A citizen service number (BSN) of the Netherlands, with its check (eleven test).
    NetherlandsBsn => "nl-bsn", false;
    /// A social insurance number of Canada, with its check digit.
    CanadaSin => "ca-sin", false;
    /// A tax file number of Australia, with its check digit.
    AustraliaTfn => "au-tfn", false;
    /// An identity number of South Africa, with its check digit.
    SouthAfricaId => "za-id", false;
    /// An e-mail address.
    Email => "email", false;
    /// A telephone number.
    Phone => "phone", false;
    /// An IPv4 or IPv6 address.
    Ip => "ip", false;
    /// A MAC address (EUI-48).
    Mac => "mac", false;
    /// A date of birth, beside a word that says so.
    BirthDate => "birth-date", false;
    /// An access key id or secret access key of AWS.
    AwsKey => "aws-key", true;
    /// An API key or OAuth secret of Google.
    GcpKey => "gcp-key", true;
    /// A key of Azure: a storage account's or a client's secret.
    AzureKey => "azure-key", true;
    /// A token of GitHub.
    GithubToken => "github-token", true;
    /// A token of GitLab.
    GitlabToken => "gitlab-token", true;
    /// A token or webhook of Slack.
    SlackToken => "slack-token", true;
    /// A key of Stripe.
    StripeKey => "stripe-key", true;
    /// An API key of OpenAI.
    OpenaiKey => "openai-key", true;
    /// An API key of Anthropic.
    AnthropicKey => "anthropic-key", true;
    /// A private key in PEM (RFC 7468).
    PrivateKey => "private-key", true;
    /// A JSON Web Token (RFC 7519).
    Jwt => "jwt", true;
    /// The password in a URL or a connection string.
    Password => "password", true;
    /// A random string beside a name that tells what it is (`api_key`, `secret`).
    Secret => "secret", true;
}

impl Kind {
    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
