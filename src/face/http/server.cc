#include "face/http/server.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <csignal>
#include <deque>
#include <optional>
#include <set>
#include <thread>

// The only place that knows Beast. Everything in a Session and in Server::Impl is touched by the
// one thread that runs the io_context, except where a comment says otherwise.
namespace tranche {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;
namespace net = boost::asio;
using Local = net::local::stream_protocol;
using Stream = beast::basic_stream<Local>;

// Where work is done that must not hold up the thread that moves bytes.
struct Workers {
  net::thread_pool readers{4};
  net::thread_pool changer{1};
};

class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(Local::socket socket, Peer peer, const Api& api, const ServerLimits& limits,
          Workers& workers, std::set<std::shared_ptr<Session>>& sessions)
      : stream_(std::move(socket)),
        peer_(std::move(peer)),
        api_(api),
        limits_(limits),
        workers_(workers),
        sessions_(sessions) {}

  void Start() { ReadRequest(); }

  // Ends at once when no request is being answered, else after it.
  void Finish() {
    finishing_ = true;
    if (idle_) Close();
  }

  void Refuse() {
    keep_alive_ = false;
    Send(Problem(503, "too many connections"));
  }

 private:
  void ReadRequest() {
    if (finishing_) return Close();
    idle_ = true;
    stream_.expires_after(limits_.idle);
    // Waits for the first byte, so that a request's own clock starts with it.
    if (buffer_.size() > 0) return ReadWhole();
    stream_.async_read_some(buffer_.prepare(4096),
                            [self = shared_from_this()](beast::error_code error, size_t bytes) {
                              self->buffer_.commit(bytes);
                              if (error) return self->Close();
                              self->ReadWhole();
                            });
  }

  void ReadWhole() {
    idle_ = false;
    parser_.emplace();
    parser_->header_limit(static_cast<uint32_t>(limits_.header_bytes));
    parser_->body_limit(limits_.body_bytes);
    stream_.expires_after(limits_.request);
    http::async_read(
        stream_, buffer_, *parser_,
        [self = shared_from_this()](beast::error_code error, size_t) { self->OnRequest(error); });
  }

  void OnRequest(beast::error_code error) {
    stream_.expires_never();
    if (error == http::error::end_of_stream || error == beast::error::timeout) return Close();
    if (error == http::error::body_limit || error == http::error::header_limit) {
      keep_alive_ = false;
      return Send(Problem(413, "the request is larger than this daemon takes"));
    }
    if (error) {
      if (error.category() != http::make_error_code(http::error::bad_method).category())
        return Close();
      keep_alive_ = false;
      return Send(Problem(400, "this is not HTTP: " + error.message()));
    }
    auto& message = parser_->get();
    keep_alive_ = message.keep_alive();
    version_ = message.version();
    auto request = std::make_shared<ApiRequest>();
    request->method = std::string(message.method_string());
    request->target = std::string(message.target());
    request->body = std::move(message.body());
    request->peer = peer_;
    auto& pool =
        Api::Changes(request->method, request->target) ? workers_.changer : workers_.readers;
    net::post(pool, [self = shared_from_this(), request] { self->Work(*request); });
  }

  // In a worker's thread: touches nothing of the session but what never changes.
  void Work(const ApiRequest& request) {
    auto reply = std::make_shared<ApiReply>(api_.Handle(request));
    const auto executor = stream_.get_executor();
    if (!reply->stream) {
      net::post(executor, [self = shared_from_this(), reply] { self->Send(std::move(*reply)); });
      return;
    }
    net::post(executor,
              [self = shared_from_this(), type = reply->content_type] { self->BeginStream(type); });
    reply->stream([&](const std::string& line) {
      net::post(executor, [self = shared_from_this(), line] { self->PutLine(line); });
    });
    net::post(executor, [self = shared_from_this()] { self->EndStream(); });
  }

  http::response<http::string_body> Response(unsigned status, const std::string& type) {
    http::response<http::string_body> response;
    response.result(status);
    response.version(version_);
    response.set(http::field::server, "tranched");
    response.set(http::field::content_type, type);
    response.set(http::field::cache_control, "no-store");
    response.keep_alive(keep_alive_);
    return response;
  }

  void Send(ApiReply reply) {
    response_.emplace(Response(static_cast<unsigned>(reply.status), reply.content_type));
    if (!reply.allow.empty()) response_->set(http::field::allow, reply.allow);
    response_->body() = std::move(reply.body);
    response_->prepare_payload();
    stream_.expires_after(limits_.write);
    http::async_write(stream_, *response_,
                      [self = shared_from_this()](beast::error_code error, size_t) {
                        if (error || !self->keep_alive_) return self->Close();
                        self->ReadRequest();
                      });
  }

  // A stream is chunks in a queue, one being written. When the client has gone, the rest is
  // dropped; the work that makes it goes on.
  void BeginStream(const std::string& type) {
    auto response = Response(200, type);
    response.chunked(true);
    std::string head;
    beast::error_code error;
    http::response_serializer<http::string_body> serializer(response);
    serializer.split(true);
    while (!serializer.is_header_done()) {
      serializer.next(error, [&](beast::error_code&, const auto& buffers) {
        head += beast::buffers_to_string(buffers);
        serializer.consume(beast::buffer_bytes(buffers));
      });
      if (error) return Close();
    }
    Put(std::move(head));
  }

  void PutLine(const std::string& line) {
    Put(beast::buffers_to_string(http::make_chunk(net::buffer(line + "\n"))));
  }

  void EndStream() {
    stream_ended_ = true;
    Put(beast::buffers_to_string(http::make_chunk_last()));
  }

  void Put(std::string bytes) {
    if (closed_) return;
    queue_.push_back(std::move(bytes));
    if (queue_.size() == 1) WriteNext();
  }

  void WriteNext() {
    stream_.expires_after(limits_.write);
    net::async_write(stream_, net::buffer(queue_.front()),
                     [self = shared_from_this()](beast::error_code error, size_t) {
                       if (error) return self->Close();
                       self->queue_.pop_front();
                       if (!self->queue_.empty()) return self->WriteNext();
                       self->stream_.expires_never();
                       if (!self->stream_ended_) return;
                       self->stream_ended_ = false;
                       if (self->keep_alive_)
                         self->ReadRequest();
                       else
                         self->Close();
                     });
  }

  void Close() {
    if (closed_) return;
    closed_ = true;
    queue_.clear();
    beast::error_code ignored;
    stream_.socket().shutdown(Local::socket::shutdown_both, ignored);
    stream_.close();
    sessions_.erase(shared_from_this());
  }

  Stream stream_;
  const Peer peer_;
  const Api& api_;
  const ServerLimits& limits_;
  Workers& workers_;
  std::set<std::shared_ptr<Session>>& sessions_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  std::optional<http::response<http::string_body>> response_;
  std::deque<std::string> queue_;
  unsigned version_ = 11;
  bool keep_alive_ = true;
  bool idle_ = false;
  bool finishing_ = false;
  bool stream_ended_ = false;
  bool closed_ = false;
};

}  // namespace

class Server::Impl : public std::enable_shared_from_this<Server::Impl> {
 public:
  Impl(const Api& api, int listening, const ServerLimits& limits)
      : api_(api),
        limits_(limits),
        acceptor_(io_, Local(), listening),
        signals_(io_, SIGTERM, SIGINT) {}

  void Run() {
    signals_.async_wait([this](beast::error_code error, int) {
      if (!error) Finish();
    });
    Accept();
    io_.run();
    if (finisher_.joinable()) finisher_.join();
  }

  void Stop() {
    net::post(io_, [this] { Finish(); });
  }

 private:
  void Accept() {
    acceptor_.async_accept([this](beast::error_code error, Local::socket socket) {
      if (error == net::error::operation_aborted) return;
      if (error) return PauseAccepting();
      Admit(std::move(socket));
      Accept();
    });
  }

  // Out of descriptors, most likely: trying again at once would only burn the processor.
  void PauseAccepting() {
    pause_.expires_after(std::chrono::milliseconds(200));
    pause_.async_wait([this](beast::error_code error) {
      if (!error && acceptor_.is_open()) Accept();
    });
  }

  void Admit(Local::socket socket) {
    auto peer = PeerOf(socket.native_handle());
    if (!peer) return;  // closes it
    const bool full = sessions_.size() >= limits_.connections;
    auto session = std::make_shared<Session>(std::move(socket), std::move(*peer), api_, limits_,
                                             workers_, sessions_);
    sessions_.insert(session);
    if (full)
      session->Refuse();
    else
      session->Start();
  }

  void Finish() {
    if (finisher_.joinable()) return;
    beast::error_code ignored;
    acceptor_.close(ignored);
    pause_.cancel();
    signals_.cancel(ignored);
    // The io thread must go on moving bytes while it waits for the workers.
    finisher_ = std::thread([this, work = net::make_work_guard(io_)] {
      workers_.changer.join();
      workers_.readers.join();
      net::post(io_, [this] {
        const auto sessions = sessions_;
        for (const auto& session : sessions) session->Finish();
      });
    });
  }

  const Api& api_;
  const ServerLimits limits_;
  net::io_context io_{1};
  Workers workers_;
  std::set<std::shared_ptr<Session>> sessions_;
  Local::acceptor acceptor_;
  net::steady_timer pause_{io_};
  net::signal_set signals_;
  std::thread finisher_;
};

Server::Server(const Api& api, int listening, const ServerLimits& limits)
    : impl_(std::make_shared<Impl>(api, listening, limits)) {}

Server::~Server() = default;

void Server::Run() { impl_->Run(); }

void Server::Stop() { impl_->Stop(); }

}  // namespace tranche
