//! Default routes, and parts of them that are as good as one.

use plan::node::Refusal;
use serde_json::json;

use crate::imports::check;
use crate::world::World;

#[test]
fn a_default_route_is_installed_only_by_a_rule_that_matches_nothing_else() {
    let rows = [
        (
            json!({"cidr": "0.0.0.0/0"}),
            "0.0.0.0/0",
            Some(Refusal::DefaultRoute),
        ),
        (
            json!({"cidr": "0.0.0.0/0", "minLength": 0}),
            "0.0.0.0/0",
            Some(Refusal::DefaultRoute),
        ),
        (
            json!({"cidr": "0.0.0.0/0", "maxLength": 1}),
            "0.0.0.0/0",
            Some(Refusal::DefaultRoute),
        ),
        (
            json!({"cidr": "0.0.0.0/0", "minLength": 1}),
            "0.0.0.0/0",
            Some(Refusal::NotAccepted),
        ),
        (
            json!({"cidr": "10.0.0.0/8"}),
            "0.0.0.0/0",
            Some(Refusal::NotAccepted),
        ),
        (
            json!({"cidr": "0.0.0.0/0", "maxLength": 0}),
            "0.0.0.0/0",
            None,
        ),
        (
            json!({"cidr": "0.0.0.0/0", "maxLength": 0}),
            "::/0",
            Some(Refusal::NotAccepted),
        ),
        (
            json!({"cidr": "0.0.0.0/0", "maxLength": 0}),
            "10.0.0.0/8",
            Some(Refusal::NotAccepted),
        ),
        (json!({"cidr": "::/0"}), "::/0", Some(Refusal::DefaultRoute)),
        (json!({"cidr": "::/0", "maxLength": 0}), "::/0", None),
        (
            json!({"cidr": "0.0.0.0/0"}),
            "8.0.0.0/5",
            Some(Refusal::DefaultRoute),
        ),
        (
            json!({"cidr": "0.0.0.0/0", "maxLength": 8}),
            "8.0.0.0/5",
            Some(Refusal::DefaultRoute),
        ),
        (
            json!({"cidr": "0.0.0.0/0", "minLength": 1, "maxLength": 7}),
            "8.0.0.0/5",
            None,
        ),
        (
            json!({"cidr": "8.0.0.0/5", "maxLength": 5}),
            "8.0.0.0/5",
            None,
        ),
        (
            json!({"cidr": "2000::/3", "maxLength": 3}),
            "2000::/3",
            None,
        ),
    ];
    for (mut rule, prefix, refusal) in rows {
        rule["action"] = json!("Accept");
        check(&mut World::published(), json!([rule]), &[(prefix, refusal)]);
    }
    let both = json!([
        {"cidr": "0.0.0.0/0", "maxLength": 0, "action": "Accept"}, {"cidr": "0.0.0.0/0", "action": "Accept"}]);
    let rows = [("0.0.0.0/0", None), ("10.0.0.0/8", None)];
    check(&mut World::published(), both, &rows);
}
