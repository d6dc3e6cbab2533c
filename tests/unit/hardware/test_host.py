from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from tests.unit.hardware.conftest import Host as FakeHost
