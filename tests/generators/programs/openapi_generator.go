// With the client that openapi-generator generates for Go: create, find, read, replace, patch,
// delete and restore a document. Takes the service's address and an API key.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"example.com/program/strongroom"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(url, key string) error {
	configuration := strongroom.NewConfiguration()
	configuration.Servers[0].URL = url
	documents := strongroom.NewAPIClient(configuration).DocumentsAPI
	ctx := context.WithValue(context.Background(), strongroom.ContextAccessToken, key)

	first, err := file("first")
	if err != nil {
		return err
	}
	created, _, err := documents.CreateDocument(ctx).
		Body(first).
		ContentDisposition(`attachment; filename="report.txt"`).
		DocumentTags("generated").
		DocumentMetadata(`{"project": "alpha"}`).
		Execute()
	if err != nil {
		return err
	}
	fmt.Printf("created %s: %d bytes, tags %s, project %s\n",
		created.Name, created.Size, strings.Join(created.Tags, ","), created.Metadata["project"])

	page, _, err := documents.ListDocuments(ctx).Tag("generated").Execute()
	if err != nil {
		return err
	}
	for _, document := range page.Items {
		if document.Id == created.Id {
			fmt.Println("found", document.Name)
		}
	}
	content, err := read(ctx, documents, created.Id)
	if err != nil {
		return err
	}
	fmt.Println("read", content)

	second, err := file("second")
	if err != nil {
		return err
	}
	replaced, _, err := documents.ReplaceContent(ctx, created.Id).
		Body(second).
		IfMatch(created.ContentEtag).
		Execute()
	if err != nil {
		return err
	}
	fmt.Printf("replaced: version %d, %d bytes\n", replaced.Version, replaced.Size)

	patch := strongroom.NewDocumentPatch()
	patch.SetName("renamed.txt")
	patched, _, err := documents.PatchDocument(ctx, created.Id).DocumentPatch(*patch).Execute()
	if err != nil {
		return err
	}
	fmt.Println("renamed to", patched.Name)

	deleted, err := documents.DeleteDocument(ctx, created.Id).Execute()
	if err != nil {
		return err
	}
	_, _, err = documents.ReadDocument(ctx, created.Id).Execute()
	var failed *strongroom.GenericOpenAPIError
	if !errors.As(err, &failed) {
		return fmt.Errorf("a deleted document was read: %w", err)
	}
	gone := failed.Model().(strongroom.Problem)
	fmt.Printf("deleted (%d), then %d %s\n", deleted.StatusCode, gone.Status, gone.Type)

	restored, _, err := documents.RestoreDocument(ctx, created.Id).Execute()
	if err != nil {
		return err
	}
	content, err = read(ctx, documents, created.Id)
	if err != nil {
		return err
	}
	state := "there again"
	if restored.DeletedAt.Get() != nil {
		state = "still deleted"
	}
	fmt.Printf("%s is %s: %s\n", restored.Name, state, content)
	return nil
}

func read(ctx context.Context, documents *strongroom.DocumentsAPIService, id string) (string, error) {
	content, _, err := documents.ReadContent(ctx, id).Execute()
	if err != nil {
		return "", err
	}
	defer os.Remove(content.Name())
	defer content.Close()
	bytes, err := io.ReadAll(content)
	return string(bytes), err
}

// file gives a file with this text, as the client takes bodies.
func file(text string) (*os.File, error) {
	file, err := os.CreateTemp("", "")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	if _, err := file.WriteString(text); err != nil {
		return nil, err
	}
	_, err = file.Seek(0, io.SeekStart)
	return file, err
}
