// With the client that oapi-codegen generates for Go: create, find, read, replace, patch, delete
// and restore a document. Takes the service's address and an API key.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"

	"example.com/program/strongroom"
)

func main() {
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, url, key string) error {
	authorize := func(_ context.Context, request *http.Request) error {
		request.Header.Set("Authorization", "Bearer "+key)
		return nil
	}
	client, err := strongroom.NewClientWithResponses(url, strongroom.WithRequestEditorFn(authorize))
	if err != nil {
		return err
	}
	const bytes = "application/octet-stream"

	disposition := `attachment; filename="report.txt"`
	tag := "generated"
	metadata := `{"project": "alpha"}`
	creation, err := client.CreateDocumentWithBodyWithResponse(ctx,
		&strongroom.CreateDocumentParams{
			ContentDisposition: &disposition,
			DocumentTags:       &tag,
			DocumentMetadata:   &metadata,
		},
		bytes, strings.NewReader("first"))
	if err != nil {
		return err
	}
	created := creation.JSON201
	if created == nil {
		return fmt.Errorf("not created: %s", creation.Body)
	}
	fmt.Printf("created %s: %d bytes, tags %s, project %s\n",
		created.Name, created.Size, strings.Join(created.Tags, ","), created.Metadata["project"])

	page, err := client.ListDocumentsWithResponse(ctx,
		&strongroom.ListDocumentsParams{Tag: &tag})
	if err != nil {
		return err
	}
	for _, document := range page.JSON200.Items {
		if document.Id == created.Id {
			fmt.Println("found", document.Name)
		}
	}
	content, err := client.ReadContentWithResponse(ctx, created.Id, nil)
	if err != nil {
		return err
	}
	fmt.Printf("read %s\n", content.Body)

	replaced, err := client.ReplaceContentWithBodyWithResponse(ctx, created.Id,
		&strongroom.ReplaceContentParams{IfMatch: &created.ContentEtag},
		bytes, strings.NewReader("second"))
	if err != nil {
		return err
	}
	fmt.Printf("replaced: version %d, %d bytes\n", replaced.JSON200.Version, replaced.JSON200.Size)

	name := "renamed.txt"
	patched, err := client.PatchDocumentWithResponse(ctx, created.Id, nil,
		strongroom.DocumentPatch{Name: &name})
	if err != nil {
		return err
	}
	fmt.Println("renamed to", patched.JSON200.Name)

	deleted, err := client.DeleteDocumentWithResponse(ctx, created.Id, nil)
	if err != nil {
		return err
	}
	reading, err := client.ReadDocumentWithResponse(ctx, created.Id, nil)
	if err != nil {
		return err
	}
	gone := reading.ApplicationproblemJSON404
	fmt.Printf("deleted (%d), then %d %s\n", deleted.StatusCode(), gone.Status, gone.Type)

	restored, err := client.RestoreDocumentWithResponse(ctx, created.Id, nil)
	if err != nil {
		return err
	}
	content, err = client.ReadContentWithResponse(ctx, created.Id, nil)
	if err != nil {
		return err
	}
	state := "there again"
	if restored.JSON200.DeletedAt != nil {
		state = "still deleted"
	}
	fmt.Printf("%s is %s: %s\n", restored.JSON200.Name, state, content.Body)
	return nil
}
