//! One request and its whole answer, of which no more is read than there is room for.

use http::Request;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kube::client::Body;
use kube::core::Status;

use crate::kubernetes::error::{ApiError, causes, with_causes};

/// The longest answer that is read: no object that etcd holds is as large.
pub(super) const LONGEST: usize = 4 << 20;
/// How many characters are quoted of an answer that is no Status, such as the page of a proxy.
const QUOTED: usize = 200;

/// An answer of which no more is read: it is longer than [`LONGEST`].
#[derive(Debug, thiserror::Error)]
#[error("the answer is longer than {} MiB", LONGEST >> 20)]
pub(super) struct Longer;

/// Sends a request and reads its answer, if that has at most `longest` bytes.
///
/// # Errors
/// `TooLong` when it has more; else what the server says.
pub(super) async fn exchange(
    client: &kube::Client,
    request: Request<Body>,
    longest: usize,
) -> Result<String, ApiError> {
    let (head, body) = client.send(request).await?.into_parts();
    let body = Limited::new(body, longest).collect().await.map_err(|error| {
        match causes(&*error).any(|cause| cause.is::<LengthLimitError>() || cause.is::<Longer>()) {
            true => ApiError::TooLong(longest),
            false => ApiError::Unreachable(with_causes(&*error)),
        }
    })?;
    let text = String::from_utf8(body.to_bytes().into()).map_err(unreadable)?;
    if head.status.is_success() {
        return Ok(text);
    }
    let status: Status = serde_json::from_str(&text).unwrap_or_else(|_| Status {
        code: head.status.as_u16(),
        message: text.chars().take(QUOTED).collect(),
        ..Status::default()
    });
    Err(ApiError::from(&status))
}

/// An answer that makes no sense.
pub(super) fn unreadable(why: impl std::fmt::Display) -> ApiError {
    ApiError::Unavailable(format!("the answer cannot be read: {why}"))
}
