"""What keeps Haven running and shows it: jobs, webhooks, metric history, alerts."""
