"""Names, versions and bytes: publishing, resolving, locking and installing, without torch.

Each folder is one stage, and knows only those before it. `system`, `storage` and `signing` deal
with files; `index` says what a registry lists, `backends` where and how; `addresses` and
`catalogue` make several registries one; `resolver`, `projects` and `pins` turn what is asked into
a lockfile; `installing` turns that into modules; `publication` makes releases, and `discovery`
finds them.
"""
