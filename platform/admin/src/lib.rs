//! millrace-admin.
