"""The voice encoder: embeds voices, and predicts presentation and age."""
