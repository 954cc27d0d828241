//! Commands on hashes.

use super::CommandSpec;

/// The commands of this family.
pub(super) const COMMANDS: &[CommandSpec] = &[];
