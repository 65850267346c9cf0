"""Training and fine-tuning: one loop, with objectives, policies and schedules by name."""
