from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def test_the_formats_are_read_without_torch(repository: Path) -> None:
    modules = sorted(path.stem for path in (repository / "core" / "formats").glob("[a-z]*.py"))
    assert "manifest" in modules
    imports = "; ".join(f"import modpm.core.formats.{module}" for module in modules)
    code = f"import sys; {imports}; print('torch' in sys.modules, 'numpy' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "False False\n"
