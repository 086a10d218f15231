//! The identity provider is down.

use crate::{Result, Scene};

#[test]
fn known_keys_go_on_while_the_provider_is_down_and_new_ones_cannot_be_learned() -> Result {
    let scene = Scene::new("")?;
    let known = scene.idp.token("ada")?;
    assert_eq!(scene.call_as(&known)?.status(), 200);
    let fresh = scene.idp.token("bob")?;
    scene.idp.rotate()?;
    let of_new_key = scene.idp.token("ada")?;
    scene.idp.failing(503)?;
    assert_eq!(scene.call_as(&known)?.status(), 200);
    assert_eq!(scene.call_as(&fresh)?.status(), 200, "a fresh token of a key that is known");
    let refusal = scene.refused(&scene.call_as(&of_new_key)?, 503, "identity-unavailable")?;
    assert!(refusal.message.contains("corp"), "{}", refusal.message);
    scene.idp.up()?;
    assert_eq!(scene.call_as(&of_new_key)?.status(), 200);
    Ok(())
}

#[test]
fn keys_that_are_too_old_are_not_trusted_any_more() -> Result {
    let scene = Scene::new("keys_max_age = \"3s\"")?;
    let token = scene.idp.token("ada")?;
    assert_eq!(scene.call_as(&token)?.status(), 200);
    scene.idp.failing(503)?;
    gateway_tests::wait_until("the keys to grow too old", crate::LIMIT, || {
        scene.call_as(&token).is_ok_and(|answer| answer.status() == 503)
    })?;
    let refusal = scene.refused(&scene.call_as(&token)?, 503, "identity-unavailable")?;
    assert!(refusal.message.contains("too old"), "{}", refusal.message);
    Ok(())
}
