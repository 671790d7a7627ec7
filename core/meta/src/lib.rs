//! The cluster image, the commands that change it, and consensus behind one trait.
