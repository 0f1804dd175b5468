package main

import (
	"context"
	"errors"
	"io"
	"net/url"
	"os"
	"path/filepath"

	"github.com/flyteorg/flyte/flytestdlib/promutils"
	"github.com/flyteorg/flyte/flytestdlib/storage"
)

// fileStore keeps objects as plain files under file:// references, so that this program, the daemon and the Python
// service see the same bytes. The engine's own "local" store treats the host part as a bucket, which nobody else does.
type fileStore struct{}

type fileMetadata struct {
	exists bool
	size   int64
}

func (m fileMetadata) Exists() bool       { return m.exists }
func (m fileMetadata) Size() int64        { return m.size }
func (m fileMetadata) Etag() string       { return "" }
func (m fileMetadata) ContentMD5() string { return "" }

func pathOf(reference storage.DataReference) (string, error) {
	u, err := url.Parse(string(reference))
	if err != nil {
		return "", err
	}
	if u.Scheme != "file" || u.Path == "" {
		return "", errors.New("expected a file:// reference, got " + string(reference))
	}
	return u.Path, nil
}

func (fileStore) GetBaseContainerFQN(context.Context) storage.DataReference { return "file:///" }

func (fileStore) CreateSignedURL(context.Context, storage.DataReference, storage.SignedURLProperties) (storage.SignedURLResponse, error) {
	return storage.SignedURLResponse{}, errors.New("a file store signs no URLs")
}

func (fileStore) Head(_ context.Context, reference storage.DataReference) (storage.Metadata, error) {
	path, err := pathOf(reference)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if os.IsNotExist(err) {
		return fileMetadata{}, nil
	}
	if err != nil {
		return nil, err
	}
	return fileMetadata{exists: true, size: info.Size()}, nil
}

func (fileStore) List(context.Context, storage.DataReference, int, storage.Cursor) ([]storage.DataReference, storage.Cursor, error) {
	return nil, storage.NewCursorAtEnd(), errors.New("listing is not used by these tests")
}

func (fileStore) ReadRaw(_ context.Context, reference storage.DataReference) (io.ReadCloser, error) {
	path, err := pathOf(reference)
	if err != nil {
		return nil, err
	}
	return os.Open(path)
}

func (fileStore) WriteRaw(_ context.Context, reference storage.DataReference, _ int64, _ storage.Options, raw io.Reader) error {
	path, err := pathOf(reference)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, raw)
	return errors.Join(err, file.Close())
}

func (s fileStore) CopyRaw(ctx context.Context, source, destination storage.DataReference, opts storage.Options) error {
	from, err := s.ReadRaw(ctx, source)
	if err != nil {
		return err
	}
	defer from.Close()
	return s.WriteRaw(ctx, destination, 0, opts, from)
}

func (fileStore) Delete(_ context.Context, reference storage.DataReference) error {
	path, err := pathOf(reference)
	if err != nil {
		return err
	}
	return os.Remove(path)
}

func newFileDataStore() *storage.DataStore {
	scope := promutils.NewScope("interop_store")
	return storage.NewCompositeDataStore(storage.NewURLPathConstructor(), storage.NewDefaultProtobufStore(fileStore{}, scope))
}
