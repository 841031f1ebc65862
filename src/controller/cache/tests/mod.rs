mod cluster;
mod index;
mod sharing;
