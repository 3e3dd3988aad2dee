// A kubelet as far as a device plugin knows one: it takes its registration, asks what devices there are, and for one
// of them what a container gets. Prints JSON, a line for each resource, and ends after the first and COUNT more of them, or
// half a minute. fake_kubelet DIR COUNT
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

type kubelet struct {
	api.UnimplementedRegistrationServer
	registered chan *api.RegisterRequest
}

func (k *kubelet) Register(_ context.Context, request *api.RegisterRequest) (*api.Empty, error) {
	k.registered <- request
	return &api.Empty{}, nil
}

type answer struct {
	Resource string            `json:"resource"`
	Devices  map[string]string `json:"devices"`
	Env      map[string]string `json:"env"`
}

func ask(ctx context.Context, dir string, request *api.RegisterRequest) (*answer, error) {
	connection, err := grpc.NewClient("unix:"+filepath.Join(dir, request.Endpoint),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	plugin := api.NewDevicePluginClient(connection)
	stream, err := plugin.ListAndWatch(ctx, &api.Empty{})
	if err != nil {
		return nil, err
	}
	list, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	out := &answer{Resource: request.ResourceName, Devices: map[string]string{}}
	for _, device := range list.Devices {
		out.Devices[device.ID] = device.Health
	}
	if len(list.Devices) > 0 {
		response, err := plugin.Allocate(ctx, &api.AllocateRequest{
			ContainerRequests: []*api.ContainerAllocateRequest{{DevicesIDs: []string{list.Devices[0].ID}}}})
		if err != nil {
			return nil, err
		}
		out.Env = response.ContainerResponses[0].Envs
	}
	return out, nil
}

func main() {
	dir := os.Args[1]
	left, _ := strconv.Atoi(os.Args[2])
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	listener, err := net.Listen("unix", filepath.Join(dir, "kubelet.sock"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	k := &kubelet{registered: make(chan *api.RegisterRequest, 16)}
	server := grpc.NewServer()
	api.RegisterRegistrationServer(server, k)
	go server.Serve(listener)
	encoder := json.NewEncoder(os.Stdout)
	for {
		select {
		case request := <-k.registered:
			out, err := ask(ctx, dir, request)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			encoder.Encode(out)
			if left--; left < 0 {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
