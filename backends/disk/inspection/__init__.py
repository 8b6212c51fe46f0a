"""Looking at a disk without owning it: peeking, checking, exporting, a second opinion."""
