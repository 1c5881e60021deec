"""Does in the studio's page what Sora's editor offered, as a person does it, and measures the videos."""
