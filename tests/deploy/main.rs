//! The ways to install the operator: that they agree, that wrong values are refused, and that the real API server takes
//! what they make. And the pages about it: that their links lead somewhere. helm is that of the variable `HELM`, or the one that
//! `deploy/tools/build.sh` builds (once, a minute).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy excuses test functions, not their helpers")]

mod agree;
mod links;
mod live;
mod network;
mod release;
mod render;
mod values;
