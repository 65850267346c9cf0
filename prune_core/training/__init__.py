"""Training and fine-tuning: one loop, and the objectives, policies and schedules that it takes."""
