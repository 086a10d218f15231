//! What fields and columns with values of a kind are called, and what people write around them.

use gateway_mask::Kind;

use super::{Text, random::Random};

/// Names of fields, and beginnings of sentences that tell of a kind.
fn spelt(kind: Kind) -> (&'static [&'static str], &'static [&'static str]) {
    match kind {
        Kind::Card => (&["card_number", "cardNumber", "pan", "payment", "cc"], &["Card ", "paid with ", "Credit card number: "]),
        Kind::Iban => (&["iban", "account", "bank_account", "recipient"], &["IBAN ", "transfer to ", "Account: "]),
        Kind::UsSsn => (
            &["ssn", "SSN", "social_security_number", "socialSecurityNumber", "patient_ssn", "p.ssn"],
            &["SSN: ", "SSN ", "Her social security number is "],
        ),
        Kind::ChinaId => (&["id_number", "citizen", "身份证号", "idCard"], &["身份证号: ", "ID ", "身份证号码是"]),
        Kind::IndiaAadhaar => (&["aadhaar", "aadhaar_number", "AadhaarNo", "uidai_no"], &["Aadhaar: ", "Aadhaar number ", "UIDAI no. "]),
        Kind::IndiaPan => (&["pan", "pan_number", "panNumber", "PAN"], &["PAN: ", "PAN card ", "Permanent Account Number: "]),
        Kind::IndonesiaNik => (&["nik", "NIK", "no_ktp", "nomor_ktp"], &["NIK: ", "NIK ", "KTP no. "]),
        Kind::PakistanCnic => (&["cnic", "CNIC", "cnic_number"], &["CNIC: ", "CNIC No. ", "his CNIC is "]),
        Kind::NigeriaNin => (&["nin", "NIN", "national_identification_number"], &["NIN: ", "NIN ", "National Identification Number "]),
        Kind::BrazilCpf => (&["cpf", "CPF", "cpf_cliente", "documento_cpf"], &["CPF: ", "CPF ", "inscrito no CPF sob o nº "]),
        Kind::RussiaSnils => (&["snils", "SNILS", "снилс"], &["СНИЛС ", "SNILS: ", "Номер СНИЛС: "]),
        Kind::RussiaInn => (&["inn", "INN", "ИНН"], &["ИНН ", "INN: ", "ИНН: "]),
        Kind::JapanMyNumber => (&["my_number", "myNumber", "個人番号"], &["My Number: ", "マイナンバー: ", "個人番号 "]),
        Kind::MexicoCurp => (&["curp", "CURP", "clave"], &["CURP: ", "con CURP ", "Clave "]),
        Kind::GermanyTaxId => (
            &["steuer_id", "steuerId", "Steuer-ID", "idnr", "tax_id"],
            &["Steuer-ID: ", "Steueridentifikationsnummer ", "IdNr. ", "Tax ID "],
        ),
        Kind::FranceNir => (&["nir", "NIR", "numero_insee", "assure"], &["NIR: ", "numéro ", "N° INSEE "]),
        Kind::UkNino => {
            (&["nino", "NINO", "national_insurance_number", "niNumber"], &["NINO: ", "National Insurance number ", "NI number: "])
        }
        Kind::UkNhs => (&["nhs_number", "nhsNumber", "NHS No"], &["NHS number ", "NHS: ", "NHS no. "]),
        Kind::ItalyFiscalCode => (&["codice_fiscale", "cf", "fiscalCode"], &["Codice fiscale: ", "C.F. ", "CF "]),
        Kind::SpainDni => (&["dni", "DNI", "nif", "documento"], &["DNI: ", "DNI ", "con documento "]),
        Kind::KoreaRrn => {
            (&["rrn", "resident_registration_number", "주민등록번호"], &["주민등록번호: ", "RRN: ", "Resident registration number "])
        }
        Kind::TurkeyTckn => (&["tckn", "TCKN", "tc_kimlik_no", "kimlikNo"], &["TC Kimlik No: ", "TCKN ", "T.C. kimlik numarası "]),
        Kind::PolandPesel => (&["pesel", "PESEL", "numer_pesel"], &["PESEL: ", "PESEL ", "nr PESEL "]),
        Kind::NetherlandsBsn => (&["bsn", "BSN", "burgerservicenummer"], &["BSN: ", "BSN ", "Burgerservicenummer: "]),
        Kind::CanadaSin => (&["sin", "SIN", "social_insurance_number"], &["SIN: ", "SIN ", "Social Insurance Number "]),
        Kind::AustraliaTfn => (&["tfn", "TFN", "tax_file_number"], &["TFN: ", "TFN ", "Tax File Number "]),
        Kind::SouthAfricaId => (&["id_number", "rsa_id", "idNumber"], &["ID number ", "RSA ID: ", "identity no. "]),
        Kind::Email => (&["email", "contact", "to", "user"], &["Write to ", "from ", "Email: ", "<"]),
        Kind::Phone => (
            &["phone", "phone_number", "phoneNumber", "mobile", "tel", "fax", "contact_phone"],
            &["Phone: ", "call ", "Tel. ", "Mobile number "],
        ),
        Kind::Ip => (&["ip", "remote_addr", "host", "client"], &["connection from ", "IP ", "host ", "peer=["]),
        Kind::Mac => (&["mac", "hwaddr", "device"], &["MAC ", "ether ", "from "]),
        Kind::BirthDate => (
            &["dob", "DOB", "birth_date", "birthDate", "date_of_birth", "birthday", "patient_dob"],
            &["DOB: ", "Date of birth: ", "born ", "was born on ", "Birthday: "],
        ),
        Kind::Password => (&["dsn", "url", "connection"], &["connect to ", "using ", "DATABASE_URL="]),
        Kind::Secret => (
            &["api_key", "apiKey", "client_secret", "access_token", "secret", "X-API-Key", "refreshToken", "auth_token"],
            &["api_key=", "API key: ", "client_secret: ", "Authorization: Bearer ", "token = "],
        ),
        Kind::PrivateKey => (&["key", "pem", "tls_key"], &["Key:\n", "", "cat id_rsa\n"]),
        _ => (
            &["key", "value", "credentials", "GITHUB_TOKEN", "env"],
            &["use ", "key ", "export KEY=", "Authorization: Bearer ", "it was \""],
        ),
    }
}

/// A name of a field with values of this kind.
pub(super) fn field(kind: Kind, random: &mut Random) -> &'static str {
    random.pick(spelt(kind).0)
}

/// What stands before and after a value in a sentence.
pub(super) fn sentence(kind: Kind, random: &mut Random) -> (&'static str, &'static str) {
    let before = random.pick(spelt(kind).1);
    let after = match before {
        "<" => "> wrote",
        "peer=[" => "] ok",
        "it was \"" => "\"",
        _ => random.pick(&["", ".", ", thanks", " for this one", "\nnext", " (checked)", "; more", " | x"]),
    };
    (before, after)
}

/// Whether what stands before tells of this kind: then a value is also written as it is at home.
pub(super) fn is_told(text: &Text, kind: Kind) -> bool {
    let (_, sentences) = spelt(kind);
    text.name.as_deref().is_some_and(|name| spelt(kind).0.contains(&name))
        || sentences.iter().any(|before| !before.is_empty() && text.text.ends_with(before))
}
