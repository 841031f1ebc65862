//! The ways to install the operator: that they agree, that wrong values are refused, and that the real API server takes
//! what they make. helm is that of the variable `HELM`, or the one that `deploy/tools/build.sh` builds (once, a minute).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy excuses test functions, not their helpers")]

mod agree;
mod live;
mod release;
mod render;
mod values;
