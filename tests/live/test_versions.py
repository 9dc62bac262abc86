# SPDX-License-Identifier: Apache-2.0
"""Every PostgreSQL version there is on this machine: no statement fails, values equal SQL."""

import oracle
import weir
from test_values import collect


def test_of(major, path):
    def test(self):
        with weir.Cluster(path) as pg:
            oracle.populate(pg, "app")
            before, points, after = collect(pg, "", major, ["app"])
            newest = weir.latest(points)
            for key, low in before.items():
                self.assertIn(key, newest)
                low, high = sorted((low, after[key]))
                self.assertTrue(low - 1e-6 <= newest[key].value <= high + 1e-6,
                                f"PostgreSQL {major}: {newest[key]}: SQL says {low} to {high}")
    return test


class Versions(weir.Test):
    def test_there_are_several(self):
        if len(weir.versions()) < 3:
            self.skipTest(f"only {list(weir.versions())}: run tools/pg-versions")


for _major, _path in weir.versions().items():
    setattr(Versions, f"test_postgresql_{_major}", test_of(_major, _path))

if __name__ == "__main__":
    weir.main()
