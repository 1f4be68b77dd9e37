//! What `--json` prints, as a JSON Schema: `gatewayctl schema`, and docs/gatewayctl.schema.json.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::action::Outcome;
use super::check::Checked;
use super::export::Exported;
use super::failure::Failure;
use super::summary::Summary;
use crate::control::event::Event;
use crate::control::reload::Reloaded;
use crate::control::route::Route;
use crate::control::status::{Connection, Status};
use crate::io::forwarding::Released;

/// Rises when something goes or changes its meaning. What is added, a program has to skip that does not know it.
const VERSION: u32 = 1;

/// One property for each command: the document that it prints with `--json`.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let action = generator.subschema_for::<Outcome>();
    let connections = generator.subschema_for::<Vec<Connection>>();
    let commands = [
        ("status", generator.subschema_for::<Status>()),
        ("status --summary", generator.subschema_for::<Summary>()),
        ("status --check", generator.subschema_for::<Summary>()),
        ("connections", connections),
        ("routes", generator.subschema_for::<Vec<Route>>()),
        ("up", action.clone()),
        ("down", action.clone()),
        ("rekey", action),
        ("reload", generator.subschema_for::<Reloaded>()),
        ("release", generator.subschema_for::<Released>()),
        ("events", generator.subschema_for::<Event>()),
        ("check", generator.subschema_for::<Checked>()),
        ("export", generator.subschema_for::<Exported>()),
        ("failure", generator.subschema_for::<Failure>()),
    ];
    let commands: Map<String, Value> =
        commands.into_iter().map(|(name, schema)| (name.to_owned(), schema.to_value())).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("urn:ipsec-gateway:gatewayctl:{VERSION}"),
        "title": "What gatewayctl --json prints",
        "description": "Each property is a command, and its value the document that the command prints on standard output; \
            events and status --watch print one in each line. A failure goes to standard error.",
        "type": "object",
        "properties": commands,
        "$defs": generator.take_definitions(true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample::{down, status, with_peers};

    #[test]
    fn the_documented_schema_is_the_one_in_force() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/gatewayctl.schema.json");
        let documented: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(
            documented == schema(),
            "run gatewayctl schema > docs/gatewayctl.schema.json, and raise VERSION if anything has gone"
        );
    }

    /// The members of a value that its schema does not name, and those that it requires in vain.
    fn unlike(value: &Value, schema: &Value, defs: &Value, path: &str, found: &mut Vec<String>) {
        let schema = match schema["$ref"].as_str() {
            Some(reference) => &defs[reference.trim_start_matches("#/$defs/")],
            None => schema["anyOf"].get(0).map_or(schema, |first| match first["$ref"].as_str() {
                Some(reference) => &defs[reference.trim_start_matches("#/$defs/")],
                None => first,
            }),
        };
        match value {
            Value::Object(members) if schema["properties"].is_object() => {
                for (name, member) in members {
                    match schema["properties"].get(name) {
                        Some(of) => unlike(member, of, defs, &format!("{path}.{name}"), found),
                        None => found.push(format!("{path}.{name} is not documented")),
                    }
                }
                let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
                for name in required.iter().filter_map(Value::as_str).filter(|name| !members.contains_key(*name)) {
                    found.push(format!("{path}.{name} is missing"));
                }
            }
            Value::Array(items) => {
                items.iter().for_each(|item| unlike(item, &schema["items"], defs, &format!("{path}[]"), found));
            }
            _ => {}
        }
    }

    #[test]
    fn what_is_printed_is_what_the_schema_says() {
        let schema = schema();
        let shown = status(vec![down(), with_peers(2)]);
        for (command, value) in [
            ("status", serde_json::to_value(&shown).unwrap()),
            ("status --check", serde_json::to_value(Summary::of(&shown)).unwrap()),
            ("connections", serde_json::to_value(&shown.connections).unwrap()),
        ] {
            let mut found = Vec::new();
            unlike(&value, &schema["properties"][command], &schema["$defs"], command, &mut found);
            assert_eq!(found, [""; 0]);
        }
        let mut found = Vec::new();
        let wrong = json!({"connection": "a", "reson": "b"});
        unlike(&wrong, &schema["$defs"]["NotUp"], &schema["$defs"], "not_up", &mut found);
        assert_eq!(found, ["not_up.reson is not documented", "not_up.reason is missing"]);
    }
}
