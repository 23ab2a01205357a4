"""The peer for files: restic with a local repository, its cache in a folder of its own."""

import json

import harness


class Restic:
    """A repository in a new folder, with the default settings of the version installed."""

    def __init__(self, name):
        self.folder = harness.fresh(name)
        self.env = {
            "RESTIC_REPOSITORY": str(self.folder / "repository"),
            "RESTIC_PASSWORD": "a passphrase for measuring",
            "RESTIC_CACHE_DIR": str(self.folder / "cache"),
        }
        harness.run(["restic", "init", "-q"], env=self.env)

    @staticmethod
    def version():
        return harness.run(["restic", "version"], keep_output=True).output.decode().split()[1]

    def put(self, path):
        return harness.run(["restic", "backup", "-q", path], env=self.env)

    def listed(self):
        return harness.run(["restic", "ls", "-l", "latest"], env=self.env, keep_output=True)

    def get(self, target):
        """Restores the latest snapshot; the path that was put lies under `target`."""
        return harness.run(["restic", "restore", "-q", "latest", "--target", target], env=self.env)

    def snapshots(self):
        return json.loads(harness.run(["restic", "snapshots", "--json"], env=self.env, keep_output=True).output)

    def close(self):
        harness.remove(self.folder)
