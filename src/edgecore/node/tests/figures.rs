//! Against the recording: what an idle node costs, and that ours looks like upstream's.
