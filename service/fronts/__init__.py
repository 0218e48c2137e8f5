"""Fronts in processes of their own: they speak to clients, and to the engine's process over a channel each.

```
front  (channel → remote.py → the HTTP application)       one channel, one shared memory       engine's process
  Submit, Abort, Answered …                          ──────────────────────────────────▶  link.py → engine
  Told, Failed, Gone, Serve, Retire …                ◀──────────────────────────────────  supervisor.py → all links
```
"""
