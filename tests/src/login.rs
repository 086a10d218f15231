//! Host logins through the command line, by people with a scripted browser.

use std::time::Duration;

use crate::{Browser, Finished, Gateway, Proc, User, wait::wait_for};

/// A login takes no longer.
const LIMIT: Duration = Duration::from_secs(60);

/// What a started `login` shows first: the line that begins so.
///
/// # Errors
/// It ends before, or does not come to it.
pub fn shown(login: &mut Proc, begins: &str) -> anyhow::Result<String> {
    wait_for(&format!("a line that begins with {begins}"), LIMIT, || {
        if let Some(status) = login.ended()? {
            anyhow::bail!("login ended ({status}): {}{}", login.stdout(), login.stderr());
        }
        let said = login.stdout();
        let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
        Ok(whole.lines().map(str::trim).find(|line| line.starts_with(begins)).map(str::to_owned))
    })
}

/// Logs a Unix user in as a person, with a device code, and a scripted browser.
///
/// # Errors
/// The command line or the provider says no.
pub fn device(gateway: &Gateway, as_user: User, person: &str, more: &[&str]) -> anyhow::Result<Finished> {
    let mut login = gateway.cli(&[&["login", "--device"], more].concat()).user(as_user).start()?;
    let direct = shown(&mut login, "or open ")?;
    let url = direct.trim_start_matches("or open ").split(',').next().unwrap_or_default().to_owned();
    Browser::new()?.login(&url, person)?;
    login.finish(LIMIT)?.ok()
}
