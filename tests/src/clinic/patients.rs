use std::path::Path;

use anyhow::Context;
use rusqlite::Connection;

use crate::dice::Dice;

/// How many patients there are.
pub const PATIENTS: u32 = 500;

const GIVEN: [&str; 16] =
    ["Ada", "Bela", "Carla", "Dmitri", "Elif", "Farid", "Greta", "Hana", "Ivo", "Jana", "Karim", "Lena", "Mara", "Nils", "Olga", "Pavel"];
const FAMILY: [&str; 16] = [
    "Okafor",
    "Novak",
    "Haddad",
    "Lindqvist",
    "Moreau",
    "Tanaka",
    "Silva",
    "Keller",
    "Öztürk",
    "Ivanova",
    "Nguyen",
    "Rossi",
    "Papadakis",
    "Byrne",
    "Kowalska",
    "Sørensen",
];
const DIAGNOSES: [&str; 8] = [
    "J45.0 asthma",
    "E11.9 diabetes, type 2",
    "I10 hypertension",
    "M54.5 low back pain",
    "G43.9 migraine",
    "F41.1 anxiety",
    "K21.9 reflux",
    "Z00.0 check-up",
];

/// Makes the database anew at `path`: the same patients each time, none of whom exists.
///
/// # Errors
/// The file cannot be replaced or written.
pub fn create(path: &Path) -> anyhow::Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(&name) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(e).with_context(|| format!("cannot replace {}", path.display()));
            }
            _ => {}
        }
    }
    let mut connection = Connection::open(path).with_context(|| format!("cannot create {}", path.display()))?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;
         CREATE TABLE patients (
             id INTEGER PRIMARY KEY, name TEXT NOT NULL, ssn TEXT NOT NULL, birth_date TEXT NOT NULL,
             email TEXT NOT NULL, phone TEXT NOT NULL, diagnosis TEXT NOT NULL, balance_cents INTEGER NOT NULL);
         CREATE TABLE visits (id INTEGER PRIMARY KEY, patient_id INTEGER NOT NULL, note TEXT NOT NULL);",
    )?;
    let transaction = connection.transaction()?;
    {
        let mut insert = transaction.prepare("INSERT INTO patients VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
        let mut dice = Dice::new(0x00C1_1A1C);
        for id in 1..=PATIENTS {
            let given = dice.pick(&GIVEN);
            let family = dice.pick(&FAMILY);
            // 900 to 999 is never given out as the first part of a social security number.
            let ssn = format!("{}-{:02}-{:04}", 900 + dice.below(100), 1 + dice.below(99), 1 + dice.below(9999));
            let birth_date = format!("{}-{:02}-{:02}", 1930 + dice.below(90), 1 + dice.below(12), 1 + dice.below(28));
            let email = format!("{}.{id}@example.org", given.to_lowercase());
            let phone = format!("555-01{:02}", dice.below(100));
            insert.execute((
                id,
                format!("{given} {family}"),
                ssn,
                birth_date,
                email,
                phone,
                dice.pick(&DIAGNOSES),
                i64::from(dice.below(1_000_000)),
            ))?;
        }
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_patients_are_the_same_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let dump = |name: &str| -> Vec<(String, String, String)> {
            let path = dir.path().join(name);
            create(&path).unwrap();
            create(&path).unwrap();
            let connection = Connection::open(&path).unwrap();
            let mut rows = connection.prepare("SELECT name, ssn, birth_date FROM patients ORDER BY id").unwrap();
            rows.query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap().collect::<Result<_, _>>().unwrap()
        };
        let patients = dump("a.db");
        assert_eq!(patients.len(), usize::try_from(PATIENTS).unwrap());
        assert_eq!(patients, dump("b.db"));
        assert!(patients.iter().all(|(_, ssn, _)| ssn.starts_with('9')));
    }
}
