//! The API's document as a page that people read: operations with their parameters, bodies and answers.

use std::fmt::Write as _;

use serde_json::Value;

/// Writes the page.
pub(super) fn render(document: &Value) -> String {
    let mut page = String::with_capacity(64 * 1024);
    let info = &document["info"];
    page.push_str("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    page.push_str("<title>KMSNotif API</title><link rel=\"stylesheet\" href=\"/api/docs.css\"></head><body><header>");
    page.push_str("<h1>KMSNotif API</h1>");
    for paragraph in text(&info["description"]).split("\n\n") {
        write(&mut page, format_args!("<p>{}</p>", prose(paragraph)));
    }
    page.push_str("<p>For programs: <a href=\"/api/openapi.json\">openapi.json</a></p></header>");
    let operations = list_operations(document);
    page.push_str("<nav aria-label=\"Operations\"><ul>");
    for (method, path, operation) in &operations {
        let (id, title) = (text(&operation["operationId"]), text(&operation["summary"]));
        write(
            &mut page,
            format_args!(
                "<li><a href=\"#{}\"><code>{} {}</code></a> {}</li>",
                escape(id),
                method.to_uppercase(),
                escape(path),
                prose(title)
            ),
        );
    }
    page.push_str("</ul></nav><main>");
    for (method, path, operation) in &operations {
        write_operation(&mut page, method, path, operation);
    }
    page.push_str("<h2>Schemas</h2>");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        let json = serde_json::to_string_pretty(schema).unwrap_or_default();
        write(
            &mut page,
            format_args!(
                "<details id=\"schema-{0}\"><summary>{0}</summary><pre><code>{1}</code></pre></details>",
                escape(name),
                escape(&json)
            ),
        );
    }
    page.push_str("</main></body></html>\n");
    page
}

fn list_operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths
        .flat_map(|(path, item)| {
            let methods = item.as_object().into_iter().flatten();
            methods.map(move |(method, operation)| (method.as_str(), path.as_str(), operation))
        })
        .collect()
}

fn write_operation(page: &mut String, method: &str, path: &str, operation: &Value) {
    let id = text(&operation["operationId"]);
    write(
        page,
        format_args!(
            "<section id=\"{}\"><h2>{}</h2><p><code class=\"{method}\">{} {}</code></p>",
            escape(id),
            prose(text(&operation["summary"])),
            method.to_uppercase(),
            escape(path)
        ),
    );
    write(page, format_args!("<p>{}</p>", prose(text(&operation["description"]))));
    let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !parameters.is_empty() {
        page.push_str("<h3>Parameters</h3><div class=\"wide\"><table><tr><th>Name<th>In<th>Value<th>Meaning</tr>");
        for parameter in parameters {
            let cells = [text(&parameter["name"]), text(&parameter["in"]), &value(&parameter["schema"])].map(escape);
            let [name, place, form] = cells;
            let meaning = prose(text(&parameter["description"]));
            write(page, format_args!("<tr><td><code>{name}</code><td>{place}<td>{form}<td>{meaning}</tr>"));
        }
        page.push_str("</table></div>");
    }
    for (kind, media) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
        write(page, format_args!("<h3>Body</h3><p><code>{}</code>: {}</p>", escape(kind), link(&media["schema"])));
    }
    page.push_str("<h3>Answers</h3><div class=\"wide\"><table><tr><th>Status<th>Meaning<th>Body</tr>");
    for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
        let bodies = answer["content"].as_object().into_iter().flatten().map(|(_, media)| link(&media["schema"]));
        write(
            page,
            format_args!(
                "<tr><td>{}<td>{}<td>{}</tr>",
                escape(status),
                prose(text(&answer["description"])),
                bodies.collect::<Vec<_>>().join(", ")
            ),
        );
    }
    page.push_str("</table></div></section>");
}

/// What a parameter may be, in a few words.
fn value(schema: &Value) -> String {
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(text).find(|kind| *kind != "null").unwrap_or_default().to_owned(),
        kind => text(kind).to_owned(),
    };
    let given = |name: &str| {
        let given = schema.get(name).filter(|given| !given.is_null())?;
        Some(format!("{name} {}", given.as_str().map_or_else(|| given.to_string(), str::to_owned)))
    };
    let words = ["format", "pattern", "minimum", "maximum", "minLength", "maxLength", "default"];
    [kind].into_iter().chain(words.into_iter().filter_map(given)).collect::<Vec<_>>().join(", ")
}

/// A schema by its name, with the way to it.
fn link(schema: &Value) -> String {
    match schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        Some(name) => format!("<a href=\"#schema-{0}\">{0}</a>", escape(name)),
        None => "object".to_owned(),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Text in which `code` stands between backquotes.
fn prose(text: &str) -> String {
    let parts = escape(text);
    let mut shown = String::with_capacity(parts.len());
    for (number, part) in parts.split('`').enumerate() {
        if number % 2 == 1 {
            write(&mut shown, format_args!("<code>{part}</code>"));
        } else {
            shown.push_str(part);
        }
    }
    shown
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn write(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("a string takes every text");
}
