//! The words that tell what stands beside them, in lower case. Between the words of a phrase may stand a separator, or nothing.
//!
//! Rather the name of a thing than what is common to many: `number` and `id` tell nothing.

use crate::Kind::{self, *};

/// Kinds that a general word is enough for: their numbers have check digits.
const NUMBERS: &[Kind] = &[
    IndiaAadhaar,
    BrazilCpf,
    RussiaSnils,
    RussiaInn,
    JapanMyNumber,
    GermanyTaxId,
    TurkeyTckn,
    PolandPesel,
    NetherlandsBsn,
    CanadaSin,
    AustraliaTfn,
    SouthAfricaId,
    ChinaId,
    FranceNir,
];

pub(super) const PHRASES: &[(&str, &[Kind])] = &[
    ("ssn|social security|socsec|soc sec|ssns", &[UsSsn, FranceNir]),
    (
        "national id|national identification|national identity|citizen id|identity number|identity card|personal id|government id|tax id|taxid|tin|itin|taxpayer|tax number|id card|id number",
        NUMBERS,
    ),
    ("aadhaar|aadhar|adhaar|uidai|uid no|आधार", &[IndiaAadhaar]),
    ("pan|permanent account", &[IndiaPan]),
    ("nik|ktp|kependudukan|e ktp", &[IndonesiaNik]),
    ("cnic|nadra|nicop", &[PakistanCnic]),
    ("nin|nimc|national identification", &[NigeriaNin, UkNino]),
    ("cpf|contribuinte", &[BrazilCpf]),
    ("snils|снилс|СНИЛС", &[RussiaSnils]),
    ("inn|инн|ИНН", &[RussiaInn]),
    ("my number|mynumber|kojin bango|individual number|マイナンバー|個人番号", &[JapanMyNumber]),
    (
        "steuer id|steueridentifikationsnummer|steuer identifikationsnummer|steuernummer|idnr|steuerid|identifikationsnummer",
        &[GermanyTaxId],
    ),
    ("nino|national insurance|ni number|ni no", &[UkNino]),
    ("nhs", &[UkNhs]),
    ("nir|insee|securite sociale|sécurité sociale|numero de secu", &[FranceNir]),
    ("codice fiscale|fiscal code|codicefiscale", &[ItalyFiscalCode]),
    ("dni|nie|nif", &[SpainDni]),
    ("rrn|resident registration|jumin|주민등록번호|주민번호", &[KoreaRrn]),
    ("tckn|tc kimlik|kimlik|tc no", &[TurkeyTckn]),
    ("pesel", &[PolandPesel]),
    ("bsn|burgerservicenummer|sofinummer|sofi nummer", &[NetherlandsBsn]),
    ("sin|social insurance|nas", &[CanadaSin]),
    ("tfn|tax file", &[AustraliaTfn]),
    ("rsa id|sa id|south african id", &[SouthAfricaId]),
    ("身份证|身份证号|身份证号码|公民身份号码", &[ChinaId]),
    ("card|cards|cardnumber|pan|visa|mastercard|amex|credit", &[Card]),
    (
        "phone|phones|telephone|tel|mobile|cell|cellphone|fax|msisdn|whatsapp|call|telefon|telefono|teléfono|telefone|handy|celular|contact no|contact number|sms|téléphone",
        &[Phone],
    ),
    (
        "dob|date of birth|birth date|birthdate|birthday|born|birth day|birth|geburtsdatum|geboren|geb|date de naissance|naissance|né le|née le|nacimiento|nascimento|nascita|birthdays|dateofbirth|дата рождения|生年月日|出生日期",
        &[BirthDate],
    ),
    ("password|passwd|pwd|passphrase|pass|passcode|pw|userpassword", &[Password, Secret]),
    (
        "secret|secrets|token|api key|apikey|access key|secret key|secretkey|auth key|authkey|private key|privatekey|client secret|bearer|basic|credential|credentials|signing key|encryption key|account key|shared key|subscription key|auth token|access token|refresh token|session key|master key|service key|authorization",
        &[Secret, AwsKey, AzureKey],
    ),
];
