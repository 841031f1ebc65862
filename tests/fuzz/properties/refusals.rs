//! What the server answers instead of doing what it was asked for. A webhook may have written most of it.

use configmapsync_operator::kubernetes::error::ApiError;
use kube::core::Status;
use serde_json::Value;

use super::served::escaped;

/// A Status.
pub fn refusal(bytes: &[u8]) {
    let Ok(status) = serde_json::from_slice::<Status>(bytes) else { return };
    let refusal = refused(&status);
    a_refusal_says_what_the_status_says(&refusal, &status, bytes.len());
    if let Ok(value) = serde_json::from_slice::<Value>(bytes) {
        let respelt: Status = serde_json::from_str(&escaped(&value)).unwrap();
        assert_eq!((refused(&respelt), &respelt), (refusal, &status), "another spelling says the same");
    }
    let again = serde_json::from_str::<Status>(&serde_json::to_string(&status).unwrap());
    assert_eq!(again.unwrap(), status);
}

fn refused(status: &Status) -> ApiError {
    ApiError::from(kube::Error::Api(status.clone().boxed()))
}

fn a_refusal_says_what_the_status_says(refusal: &ApiError, status: &Status, input: usize) {
    let (kind, name, seconds) = match &status.details {
        Some(details) => (&*details.kind, &*details.name, details.retry_after_seconds),
        None => ("", "", 0),
    };
    match refusal {
        // Of these two something is forgotten, or deleted: no other answer may be taken for them.
        ApiError::NotFound(named) => assert_eq!((status.code, &**named, named.is_empty()), (404, name, false)),
        ApiError::NoNamespace(named) => assert_eq!((status.code, kind, &**named), (404, "namespaces", name)),
        ApiError::AlreadyExists => assert_eq!((status.code, &*status.reason), (409, "AlreadyExists")),
        ApiError::Conflict => assert_eq!(status.code, 409),
        ApiError::NamespaceTerminating => assert_eq!(status.code, 403),
        ApiError::Busy(wait) => {
            assert!(status.code == 429 || (status.code == 503 && seconds > 0));
            assert!((1..=60).contains(&wait.as_secs()), "{wait:?}");
        }
        ApiError::Invalid(_) => assert!([400, 413, 422].contains(&status.code)),
        ApiError::NotInstalled => assert_eq!((status.code, name), (404, "")),
        ApiError::Unauthorized(_) => assert_eq!(status.code, 401),
        ApiError::LacksRight(_) | ApiError::Forbidden(_) => assert_eq!(status.code, 403),
        ApiError::Unavailable(_) => {
            assert!(![400, 401, 403, 404, 409, 413, 422, 429].contains(&status.code), "{refusal:?} of {}", status.code);
        }
        ApiError::Unreachable(_)
        | ApiError::SetApart(..)
        | ApiError::TooLong(_)
        | ApiError::NoRoom(_)
        | ApiError::GateClosed
        | ApiError::ObserveOnly => {
            panic!("{refusal:?} is of our own making")
        }
    }
    let text = refusal.to_string();
    assert!((1..=3 * input + 400).contains(&text.len()), "{text}");
    assert!(!refusal.category().is_empty());
}
