"""Evidence to risk to decision, and which item labels are adopted."""
