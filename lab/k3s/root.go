package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// mount makes the node's root and moves into it. This machine's files are lower layers of overlays or read-only: nothing
// that the node does changes them.
func (m machine) mount() error {
	if err := syscall.Sethostname([]byte(m.Name)); err != nil {
		return err
	}
	// Else a mount in here would show up outside.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := syscall.Mount("tmpfs", m.Root, "tmpfs", 0, "mode=755,size="+m.Size); err != nil {
		return fmt.Errorf("mounting %s: %w", m.Root, err)
	}
	for _, step := range []func() error{m.mountPrograms, m.mountSettings, m.mountKernel, m.mountDevices, m.mountBinds, m.mountDisks, m.enter} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// mountPrograms makes /usr, and /bin and the like as this machine has them: links into /usr, or folders.
func (m machine) mountPrograms() error {
	if err := m.overlay("/usr", m.packaged("/usr"), "/usr"); err != nil {
		return err
	}
	for _, name := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		target, err := os.Readlink(name)
		if err != nil {
			if err := m.overlay(name, m.packaged(name), name); err != nil {
				return err
			}
			continue
		}
		if err := os.Symlink(target, m.Root+name); err != nil {
			return err
		}
		// Packages from before Debian 13 have files for both.
		if _, err := os.Stat(m.packaged(name)); err == nil {
			if err := m.overlay("/usr"+name, m.packaged(name), m.packaged("/usr"+name), "/usr"+name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m machine) mountSettings() error {
	return m.overlay("/etc", m.packaged("/etc"), "/etc")
}

func (m machine) packaged(path string) string { return m.Packages + path }

// overlay shows the folders as one, the first on top. What is written goes to the node's own memory.
func (m machine) overlay(path string, layers ...string) error {
	var lower []string
	for _, layer := range layers {
		if info, err := os.Stat(layer); err == nil && info.IsDir() {
			lower = append(lower, escapeLayer(layer))
		}
	}
	if len(lower) == 0 {
		return nil
	}
	changes := m.Root + "/.changes/" + strings.ReplaceAll(path, "/", "_")
	for _, folder := range []string{m.Root + path, changes + "/upper", changes + "/work"} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	options := "lowerdir=" + strings.Join(lower, ":") + ",upperdir=" + changes + "/upper,workdir=" + changes + "/work"
	if err := syscall.Mount("overlay", m.Root+path, "overlay", 0, options); err != nil {
		return fmt.Errorf("mounting %s from %s: %w", path, options, err)
	}
	return nil
}

func escapeLayer(path string) string {
	return strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`).Replace(path)
}

func (m machine) mountKernel() error {
	for _, path := range []string{"/proc", "/sys"} {
		if err := os.MkdirAll(m.Root+path, 0o755); err != nil {
			return err
		}
	}
	if err := syscall.Mount("proc", m.Root+"/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	// Most of the sysctls are the whole machine's.
	if err := bindReadOnly(m.Root+"/proc/sys", m.Root+"/proc/sys"); err != nil {
		return err
	}
	if err := syscall.Mount("sysfs", m.Root+"/sys", "sysfs", syscall.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mounting /sys: %w", err)
	}
	return nil
}

func (m machine) mountDevices() error {
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		if err := bindOn("/dev/"+name, m.Root+"/dev/"+name); err != nil {
			return err
		}
	}
	for _, folder := range []string{"/dev/pts", "/dev/shm"} {
		if err := os.MkdirAll(m.Root+folder, 0o1777); err != nil {
			return err
		}
	}
	if err := syscall.Mount("devpts", m.Root+"/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=0620,gid=5"); err != nil {
		return fmt.Errorf("mounting /dev/pts: %w", err)
	}
	for name, target := range map[string]string{"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(target, m.Root+"/dev/"+name); err != nil {
			return err
		}
	}
	return nil
}

func (m machine) mountBinds() error {
	for _, entry := range m.Binds {
		if err := bindReadOnly(entry.From, m.Root+entry.To); err != nil {
			return err
		}
	}
	return nil
}

func (m machine) mountDisks() error {
	for _, entry := range m.Disks {
		if err := os.MkdirAll(m.Root+entry.Path, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount("tmpfs", m.Root+entry.Path, "tmpfs", 0, "mode=755,size="+entry.Size); err != nil {
			return fmt.Errorf("mounting %s: %w", entry.Path, err)
		}
	}
	return nil
}

func (m machine) enter() error {
	before := m.Root + "/.before"
	if err := os.Mkdir(before, 0o700); err != nil {
		return err
	}
	if err := syscall.PivotRoot(m.Root, before); err != nil {
		return fmt.Errorf("entering the node's root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := syscall.Unmount("/.before", syscall.MNT_DETACH); err != nil {
		return err
	}
	return os.Remove("/.before")
}

// bindOn shows a file or a folder at another place as well, and makes what it is mounted on.
func bindOn(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		err = os.MkdirAll(to, 0o755)
	} else {
		err = touch(to)
	}
	if err != nil {
		return err
	}
	if err := syscall.Mount(from, to, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting %s on %s: %w", from, to, err)
	}
	return nil
}

func bindReadOnly(from, to string) error {
	if err := bindOn(from, to); err != nil {
		return err
	}
	if err := syscall.Mount("", to, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("making %s read-only: %w", to, err)
	}
	return nil
}

func touch(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return file.Close()
}

// furnish writes the node's own files, after the mounts and inside of them.
func (m machine) furnish() error {
	syscall.Umask(0o022)
	for _, entry := range m.Folders {
		if err := os.MkdirAll(entry.Path, 0o755); err != nil {
			return err
		}
		if err := give(entry.Path, entry.User, entry.Mode); err != nil {
			return err
		}
	}
	for _, entry := range m.Files {
		if err := writeFile(entry); err != nil {
			return err
		}
	}
	for _, entry := range m.Links {
		if err := replaceLink(entry); err != nil {
			return err
		}
	}
	for _, entry := range m.Owners {
		if err := give(entry.Path, 0, entry.Mode); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(entry file) error {
	if err := os.MkdirAll(filepath.Dir(entry.Path), 0o755); err != nil {
		return err
	}
	// What this machine has there may be a link to a file that the node does not have.
	if err := os.Remove(entry.Path); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := os.WriteFile(entry.Path, []byte(entry.Text), 0o600); err != nil {
		return err
	}
	return give(entry.Path, entry.User, entry.Mode)
}

func replaceLink(entry link) error {
	if err := os.MkdirAll(filepath.Dir(entry.Path), 0o755); err != nil {
		return err
	}
	if err := os.Remove(entry.Path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.Symlink(entry.To, entry.Path)
}

func give(path string, user int, mode uint32) error {
	if err := syscall.Chown(path, user, user); err != nil {
		return &os.PathError{Op: "chown", Path: path, Err: err}
	}
	if err := syscall.Chmod(path, mode); err != nil {
		return &os.PathError{Op: "chmod", Path: path, Err: err}
	}
	return nil
}

func emptyFolders(folders ...string) error {
	for _, folder := range folders {
		entries, err := os.ReadDir(folder)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if err := os.RemoveAll(filepath.Join(folder, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
