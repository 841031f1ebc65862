//! Any bytes, to the property of this name.
#![no_main]

configmapsync_fuzz::target!(cluster_sync);
