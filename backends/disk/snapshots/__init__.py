"""Other histories from what a disk was: clones, going back, going on without what is damaged."""
