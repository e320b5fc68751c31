package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// The user and group that functions run as on AWS.
const (
	userID  = 993
	groupID = 990
)

// Modes that LocalStack asks for, and /tmp for the function's user: the only folder that a function may write to.
func prepareFiles(wishes string) error {
	var modes []struct{ Path, Mode string }
	if wishes != "" {
		if err := json.Unmarshal([]byte(wishes), &modes); err != nil {
			return err
		}
	}
	for _, wish := range modes {
		mode, err := strconv.ParseUint(wish.Mode, 8, 32)
		if err != nil {
			return err
		}
		if err := chmodAll(wish.Path, os.FileMode(mode)); err != nil {
			return err
		}
	}
	return os.Chown("/tmp", userID, groupID)
}

func chmodAll(root string, mode os.FileMode) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err
		}
		return os.Chmod(path, mode)
	})
}
