//! REST: the paths, parameters, answers and schemas of the OpenAPI documents.

use serde_json::{Map, Value};

use crate::markdown::{code, head, plain, table};

const ABOUT: &str = "\
A running reflector serves this as `/api/v1/openapi.json` (OpenAPI 3.1), with examples, and so does a probe. Paths under \
`/api/v1` are the first reflector's. Each reflector of a process has its own under `/api/v1/reflectors/NAME`: `/sessions`, \
`/policy` and so on, with the same parameters and answers. Errors are problem documents (RFC 9457) that name the field and the \
remedy.";

/// The beginning of the paths that repeat others for a reflector by its name.
const BY_NAME: &str = "/api/v1/reflectors/{name}/";
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

pub(crate) fn page() -> String {
    let documents =
        [("A reflector", teaparty_user::api::document()), ("A probe", teaparty_user::probe::openapi::document())];
    let mut text = head("REST API", "the OpenAPI documents of reflector and probe", ABOUT);
    for (title, document) in &documents {
        text += &format!("\n## {title}\n");
        for (path, item) in object(&document["paths"]).filter(|(path, _)| !path.starts_with(BY_NAME)) {
            let operations = METHODS.iter().filter_map(|method| Some((method, item.get(method)?)));
            operations.for_each(|(method, operation)| text += &self::operation(method, path, operation));
        }
        let schemas = &document["components"]["schemas"];
        text += &format!("\n## Schemas of {}\n", title.to_lowercase());
        object(schemas).for_each(|(name, schema)| text += &self::schema(name, schema));
    }
    text
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn words<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn operation(method: &str, path: &str, operation: &Value) -> String {
    let mut text = format!("\n### `{} {path}`\n", method.to_uppercase());
    for part in ["summary", "description"].map(|key| words(operation, key)).into_iter().filter(|part| !part.is_empty())
    {
        text += &format!("\n{}\n", plain(part.trim()));
    }
    let parameters: Vec<&Value> = operation["parameters"].as_array().into_iter().flatten().collect();
    if !parameters.is_empty() {
        let row = |one: &&Value| {
            let needed = if one["required"] == true { ", required" } else { "" };
            let place = format!("{}{needed}", words(one, "in"));
            [code(words(one, "name")), place, kind(&one["schema"]), plain(words(one, "description"))]
        };
        text += &table(["parameter", "in", "takes", "meaning"], parameters.iter().map(row));
    }
    for (content, body) in object(&operation["requestBody"]["content"]) {
        text += &format!("\nBody ({}): {}\n", code(content), kind(&body["schema"]));
    }
    let answer = |(status, response): (&String, &Value)| {
        let contents = object(&response["content"]);
        let contents: Vec<String> =
            contents.map(|(content, body)| format!("{}: {}", code(content), kind(&body["schema"]))).collect();
        [status.clone(), plain(words(response, "description")), contents.join(", ")]
    };
    text + &table(["answer", "meaning", "content"], object(&operation["responses"]).map(answer))
}

fn schema(name: &str, schema: &Value) -> String {
    let mut text = format!("\n### {name}\n\n{}\n", plain(words(schema, "description")));
    let needed: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut rows = Vec::new();
    let parts = schema["allOf"].as_array().into_iter().flatten().chain([schema]);
    for part in parts {
        let row = |(name, value): (&String, &Value)| {
            let is_needed = if needed.contains(&name.as_str()) { "yes" } else { "" };
            [code(name), kind(value), is_needed.to_owned(), plain(words(value, "description"))]
        };
        rows.extend(object(&part["properties"]).map(row));
    }
    if rows.is_empty() {
        return text + &format!("\n{}\n", kind(schema));
    }
    text += &table(["key", "type", "always", "meaning"], rows);
    text
}

/// Returns the values that a schema stands for, in words, with links to other schemas.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(choices) = schema["enum"].as_array() {
        return choices.iter().map(|choice| code(&choice.to_string())).collect::<Vec<_>>().join(", ");
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        if let Some(choices) = schema[key].as_array() {
            return choices.iter().map(kind).collect::<Vec<_>>().join(" or ");
        }
    }
    let one = |kind: &str| match kind {
        "array" => format!("list of {}", self::kind(&schema["items"])),
        "null" => "null".into(),
        other => other.to_owned(),
    };
    match &schema["type"] {
        Value::String(name) => one(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).map(one).collect::<Vec<_>>().join(" or "),
        _ => "any".into(),
    }
}
