//! Answers, in the words of a real API server.

use serde_json::{Value, json};

use super::path::Key;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub code: u16,
    /// The body.
    pub body: Value,
    /// The header `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
}

impl Answer {
    /// 200.
    pub fn ok(body: Value) -> Self {
        Self { code: 200, body, retry_after: None }
    }

    /// 201.
    pub fn created(body: Value) -> Self {
        Self { code: 201, body, retry_after: None }
    }

    fn failure(code: u16, reason: &str, message: String, details: Value) -> Self {
        let body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "details": details, "code": code,
        });
        Self { code, body, retry_after: None }
    }

    /// 404 without details, as for a path that nothing serves.
    pub fn no_such_path() -> Self {
        Self::failure(404, "NotFound", "the server could not find the requested resource".to_owned(), json!({}))
    }

    /// 404.
    pub fn not_found(key: &Key) -> Self {
        let (group, plural) = key.resource.group();
        Self::failure(
            404,
            "NotFound",
            format!("{plural} \"{}\" not found", key.name),
            details(group, plural, &key.name),
        )
    }

    /// 409: it is there already.
    pub fn already_exists(key: &Key) -> Self {
        let (group, plural) = key.resource.group();
        let message = format!("{plural} \"{}\" already exists", key.name);
        Self::failure(409, "AlreadyExists", message, details(group, plural, &key.name))
    }

    /// 409: it is not what the request says that it is.
    pub fn conflict(key: &Key, why: &str) -> Self {
        let (group, plural) = key.resource.group();
        let message = format!("Operation cannot be fulfilled on {plural} \"{}\": {why}", key.name);
        Self::failure(409, "Conflict", message, details(group, plural, &key.name))
    }

    /// 409: a precondition of a deletion.
    pub fn precondition_failed(key: &Key, field: &str) -> Self {
        let mut failure = Self::conflict(key, &format!("Precondition failed: {field}"));
        failure.body["details"]["kind"] = json!(key.resource.kind().1);
        failure
    }

    /// 422: what has to name a version does not.
    pub fn without_version(key: &Key) -> Self {
        let mut failure = Self::invalid(key, "metadata.resourceVersion", "must be specified for an update");
        failure.body["details"]["kind"] = json!(key.resource.group().1);
        failure
    }

    /// 500: a creation that names a version, for which the server has no better word.
    pub fn with_version() -> Self {
        let mut failure = Self::failure(500, "", "resourceVersion should not be set".to_owned(), Value::Null);
        failure.body.as_object_mut().map(|body| body.remove("reason"));
        failure
    }

    /// 422.
    pub fn invalid(key: &Key, field: &str, why: &str) -> Self {
        let kind = key.resource.kind().1;
        let mut details = details(key.resource.group().0, kind, &key.name);
        details["causes"] = json!([{"reason": "FieldValueInvalid", "message": why, "field": field}]);
        Self::failure(422, "Invalid", format!("{kind} \"{}\" is invalid: {field}: {why}", key.name), details)
    }

    /// 403: nothing is created in a namespace that is being deleted.
    pub fn namespace_terminating(key: &Key) -> Self {
        let (group, plural) = key.resource.group();
        let mut details = details(group, plural, &key.name);
        let why = format!("namespace {} is being terminated", key.namespace);
        details["causes"] = json!([{"reason": "NamespaceTerminating", "message": why, "field": "metadata.namespace"}]);
        let message = format!("{plural} \"{}\" is forbidden: unable to create new content in it", key.name);
        Self::failure(403, "Forbidden", message, details)
    }

    /// 400.
    pub fn bad_request(why: &str) -> Self {
        Self::failure(400, "BadRequest", why.to_owned(), Value::Null)
    }

    /// 410.
    pub fn expired() -> Self {
        Self::failure(410, "Expired", "too old resource version".to_owned(), Value::Null)
    }

    /// 429, and when to come back.
    pub fn too_many(seconds: u32) -> Self {
        let details = json!({"retryAfterSeconds": seconds});
        let message = "too many requests, please try again later".to_owned();
        let failure = Self::failure(429, "TooManyRequests", message, details);
        Self { retry_after: Some(seconds), ..failure }
    }

    /// 500, 503 and the like.
    pub fn server_error(code: u16) -> Self {
        let reason = match code {
            503 => "ServiceUnavailable",
            504 => "Timeout",
            _ => "InternalError",
        };
        Self::failure(code, reason, "something is wrong with the server".to_owned(), json!({}))
    }

    /// The same with metadata only, where it is an object or a list of them.
    pub fn metadata_only(mut self) -> Self {
        if self.body["kind"] == "Status" {
            return self;
        }
        self.body = match self.body["items"].as_array() {
            Some(items) => json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": self.body["metadata"],
                "items": items.iter().map(partial).collect::<Vec<_>>(),
            }),
            None => partial(&self.body),
        };
        self
    }
}

/// An object's metadata alone.
pub fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

fn details(group: &str, kind: &str, name: &str) -> Value {
    if group.is_empty() {
        json!({"name": name, "kind": kind})
    } else {
        json!({"name": name, "group": group, "kind": kind})
    }
}
