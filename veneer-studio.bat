@echo off
rem Opens the studio on Windows; installs Veneer first where it is not yet. Needs Python 3.11 or newer (python.org).
setlocal
cd /d "%~dp0"
if not exist .venv\Scripts\veneer.exe (
    py -3 -c "import sys; sys.exit(sys.version_info < (3, 11))" || goto nopython
    py -3 -m venv .venv || goto failed
    .venv\Scripts\python -m pip install --disable-pip-version-check -c constraints.txt torch || goto failed
    .venv\Scripts\python -m pip install --disable-pip-version-check -c constraints.txt ".[web]" || goto failed
)
.venv\Scripts\veneer ui --workspace studio --browser
goto end
:nopython
echo Veneer needs Python 3.11 or newer: https://www.python.org/downloads/
goto end
:failed
echo The installation failed: the lines above say why. docs\installing.md has the same by hand.
:end
pause
