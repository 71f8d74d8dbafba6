//! The description of the service (OpenAPI 2.0), whose address hosting accounts name as `modelManagementSwaggerLocation`. Clients take the
//! base of all other addresses from where it is.

use axum::Json;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::errors::Result;

/// Method, path below the scope and name of each operation that every client knows.
const OPERATIONS: [(&str, &str, &str); 27] = [
    ("get", "/models", "Models_List"),
    ("post", "/models", "Models_Register"),
    ("get", "/models/{id}", "Models_Get"),
    ("patch", "/models/{id}", "Models_Update"),
    ("delete", "/models/{id}", "Models_Delete"),
    ("get", "/models/{id}/content", "Models_Download"),
    ("get", "/manifests", "Manifests_List"),
    ("post", "/manifests", "Manifests_Create"),
    ("get", "/manifests/{id}", "Manifests_Get"),
    ("delete", "/manifests/{id}", "Manifests_Delete"),
    ("get", "/images", "Images_List"),
    ("post", "/images", "Images_Create"),
    ("get", "/images/{id}", "Images_Get"),
    ("patch", "/images/{id}", "Images_Update"),
    ("delete", "/images/{id}", "Images_Delete"),
    ("get", "/services", "Services_List"),
    ("post", "/services", "Services_Create"),
    ("get", "/services/{id}", "Services_Get"),
    ("put", "/services/{id}", "Services_Update"),
    ("delete", "/services/{id}", "Services_Delete"),
    ("get", "/services/{id}/keys", "Services_ListKeys"),
    ("post", "/services/{id}/regenerateKeys", "Services_RegenerateKeys"),
    ("get", "/deployments", "Deployments_List"),
    ("get", "/deployments/{id}", "Deployments_Get"),
    ("get", "/operations/{id}", "Operations_Get"),
    ("get", "/assets", "Assets_List"),
    ("post", "/assets", "Assets_Create"),
];

/// `GET swagger.json`.
pub(super) async fn show(call: Call) -> Result<Json<Value>> {
    call.read(|_, _| Ok(())).await?;
    let mut paths: Map<String, Value> = Map::new();
    for (method, path, name) in OPERATIONS {
        let mut parameters = vec![
            json!({ "name": "api-version", "in": "query", "required": true, "type": "string" }),
            json!({ "name": "Authorization", "in": "header", "required": true, "type": "string" }),
        ];
        if path.contains("{id}") {
            parameters.push(json!({ "name": "id", "in": "path", "required": true, "type": "string" }));
        }
        if matches!(method, "post" | "put" | "patch") {
            parameters.push(json!({ "name": "body", "in": "body", "schema": {} }));
        }
        let operations = paths.entry(path.to_owned()).or_insert_with(|| json!({}));
        operations[method] = json!({
            "operationId": name,
            "parameters": parameters,
            "responses": { "default": { "description": "the documented answer, or code and message of the error" } },
        });
    }
    let (scheme, host) = call.base.split_once("://").unwrap_or(("https", &call.base));
    Ok(Json(json!({
        "swagger": "2.0",
        "info": { "title": "Model management", "version": call.query("api-version").unwrap_or("v1.0") },
        "schemes": [scheme],
        "host": host,
        "basePath": call.scope_path(),
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "paths": paths,
    })))
}
