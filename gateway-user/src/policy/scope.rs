//! What a policy's scope fits: told without Cedar, exactly as Cedar would. Most policies of a set are sorted out here.

use cedar_policy::{ActionConstraint, EntityTypeName, EntityUid, Policy, PrincipalConstraint, ResourceConstraint};

use super::schema::ACTION_UIDS;

/// The scope of one policy.
pub(super) struct Scope {
    principal: Side,
    /// Places in [`ACTION_UIDS`].
    pub(super) actions: Vec<usize>,
    resource: Side,
}

enum Side {
    Any,
    Eq(EntityUid),
    In(EntityUid),
    Is(EntityTypeName),
    IsIn(EntityTypeName, EntityUid),
}

/// A principal or a resource, with all that it is in: entities of one type, by their ids.
pub(super) struct Member<'a> {
    pub(super) uid: EntityUid,
    pub(super) parent: &'static EntityTypeName,
    pub(super) parents: Vec<&'a str>,
}

impl Member<'_> {
    pub(super) fn is_in(&self, uid: &EntityUid) -> bool {
        let is_parent = || uid.type_name() == self.parent && self.parents.contains(&uid.id().unescaped());
        self.uid == *uid || is_parent()
    }
}

impl Scope {
    pub(super) fn of(policy: &Policy) -> Self {
        let principal = match policy.principal_constraint() {
            PrincipalConstraint::Any => Side::Any,
            PrincipalConstraint::Eq(uid) => Side::Eq(uid),
            PrincipalConstraint::In(uid) => Side::In(uid),
            PrincipalConstraint::Is(name) => Side::Is(name),
            PrincipalConstraint::IsIn(name, uid) => Side::IsIn(name, uid),
        };
        let resource = match policy.resource_constraint() {
            ResourceConstraint::Any => Side::Any,
            ResourceConstraint::Eq(uid) => Side::Eq(uid),
            ResourceConstraint::In(uid) => Side::In(uid),
            ResourceConstraint::Is(name) => Side::Is(name),
            ResourceConstraint::IsIn(name, uid) => Side::IsIn(name, uid),
        };
        let action = policy.action_constraint();
        let fits = |(uid, group): &(EntityUid, EntityUid)| match &action {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(wanted) => wanted == uid,
            ActionConstraint::In(wanted) => wanted.contains(uid) || wanted.contains(group),
        };
        let actions = ACTION_UIDS.iter().enumerate().filter(|(_, action)| fits(action)).map(|(place, _)| place).collect();
        Scope { principal, actions, resource }
    }

    /// Whether it fits them, its actions aside.
    pub(super) fn fits(&self, principal: &Member<'_>, resource: &Member<'_>) -> bool {
        self.resource.fits(resource) && self.principal.fits(principal)
    }
}

impl Side {
    fn fits(&self, member: &Member<'_>) -> bool {
        match self {
            Side::Any => true,
            Side::Eq(uid) => member.uid == *uid,
            Side::In(uid) => member.is_in(uid),
            Side::Is(name) => member.uid.type_name() == name,
            Side::IsIn(name, uid) => member.uid.type_name() == name && member.is_in(uid),
        }
    }
}
