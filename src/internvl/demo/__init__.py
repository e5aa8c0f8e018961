"""The browser demo: a chat page (Gradio) on the same `Engine` as everything else. Needs the extra `demo`."""
