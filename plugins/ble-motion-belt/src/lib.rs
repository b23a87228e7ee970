//! To come: see README.
